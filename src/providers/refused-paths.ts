import { canonicalSegments, endpointSegments } from './canonical-path.ts';

/** Segments below which accounts, members and keys are managed, or that hand out a credential, wherever they stand. */
const segmentsRefused = new Set([
  'organization', // OpenAI's administration
  'organizations', // Anthropic's
  'admin_api_keys',
  'api-key', // xAI: shows parts of the key and whose it is
  'api-keys',
  'api_keys',
  'apikeys',
  'auth_tokens', // Gemini's ephemeral tokens
  'authtokens',
  'client_secrets', // OpenAI's and xAI's ephemeral keys
  'reveal_token', // Anthropic's tunnels
  'rotate_token',
  'rotate_secret', // OpenAI's webhooks
  'regenerate_signing_secret',
  'rotatesigningsecret',
]);

/** Two segments in a row: each creates a session and answers with a client secret, or with a token. */
const pairsRefused = new Set([
  'realtime/sessions',
  'realtime/transcription_sessions',
  'chatkit/sessions',
  'oauth/token',
]);

/** What only one provider has: segments after the API version, `*` for any one. Sources: the providers' references of 2026. */
const refusedAt: Readonly<Record<string, readonly { readonly method?: string; readonly path: string }[]>> = {
  openai: [
    { path: 'projects' }, // roles of users and groups: /v1/projects/{id}/users/{id}/roles
    { path: 'fine_tuning/checkpoints/*/permissions' }, // takes an admin key
    { path: 'dashboard' }, // billing
    { method: 'POST', path: 'webhook_endpoints' }, // as Google's below
  ],
  anthropic: [
    { path: 'compliance' },
    { path: 'environments/*/work/poll' }, // hands the worker his session's credential
  ],
  // A new webhook is answered with its signing secret; reading one shows a part.
  google: [
    { method: 'POST', path: 'webhooks' },
    { path: 'batch' }, // many requests in one body, whose paths nobody here would read
  ],
};

/**
 * Endpoints that give away what the vault keeps: they mint credentials, or manage the account that the key belongs to
 * (VAULT.md, "Life of a provider key"). Those of `segmentsRefused` and `pairsRefused` are refused at every provider and with every
 * method; a custom origin may be a proxy of any.
 */
export function refusedPathsOf(provider: string): (method: string, path: string) => boolean {
  const own = (refusedAt[provider] ?? []).map(({ method, path }) => ({ method, pattern: path.split('/') }));
  return (method, path) => {
    if (isRefusedEverywhere(path)) return true;
    if (own.length === 0) return false;
    // Google's batches have the version behind them: /batch/v1beta.
    return [endpointSegments(path), canonicalSegments(path)].some((segments) =>
      own.some(
        (refused) =>
          (refused.method ?? method) === method &&
          refused.pattern.every((wanted, at) =>
            wanted === '*' ? segments[at] !== undefined : wanted === segments[at],
          ),
      ),
    );
  };
}

function isRefusedEverywhere(path: string): boolean {
  // `resource:verb` is Google's way of naming an action.
  const words = canonicalSegments(path).flatMap((segment) => segment.split(':'));
  return words.some(
    (word, at) => segmentsRefused.has(word) || (at > 0 && pairsRefused.has(`${words[at - 1]}/${word}`)),
  );
}
