import { SallyportError } from '../errors.ts';
import { parseToken, type ParsedToken } from '../ids.ts';

/** Every place where an SDK puts its key. The gateway's token is taken from there and nothing of it goes upstream. */
const tokenHeaders: ReadonlySet<string> = new Set([
  'authorization',
  'x-api-key',
  'x-goog-api-key',
  'api-key',
]);
/** Sent once or not at all: Node keeps the first `authorization` and joins two `x-api-key`, so only rawHeaders tell. */
const single: ReadonlySet<string> = new Set([
  ...tokenHeaders,
  'host',
  'content-length',
  'content-type',
  'content-encoding',
  'transfer-encoding',
  'expect',
  'x-sallyport-provider',
  'x-sallyport-seal',
  'x-sallyport-provider-key',
]);

export interface Credentials {
  readonly token: ParsedToken;
  /** The whole text, as the key of the cache. */
  readonly text: string;
  /** The query with `key=` taken out. */
  readonly query: string;
}

/**
 * The one gateway token of a request.
 *
 * @param rawHeaders name, value, … as they came.
 * @param query `?…` or empty.
 * @throws {SallyportError} AUTH_MISSING, AUTH_INVALID (malformed, or an admin token), REQUEST_INVALID (a credential twice, or two that differ).
 */
export function readCredentials(rawHeaders: readonly string[], query: string): Credentials {
  const seen = new Set<string>();
  let text: string | null = null;
  const take = (candidate: string): void => {
    if (text !== null && text !== candidate) {
      throw new SallyportError(
        'REQUEST_INVALID',
        'Two different credentials came with this call; send one gateway token.',
      );
    }
    text = candidate;
  };
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] as string).toLowerCase();
    if (!single.has(name)) continue;
    if (seen.has(name)) throw new SallyportError('REQUEST_INVALID', `The header ${name} came twice.`);
    seen.add(name);
    if (!tokenHeaders.has(name)) continue;
    const value = (rawHeaders[i + 1] as string).trim();
    take(name === 'authorization' ? bearerOf(value) : value);
  }
  const cut = takeKeyParameter(query);
  if (cut.key !== null) take(cut.key);
  if (text === null || text === '') {
    throw new SallyportError('AUTH_MISSING', 'No gateway token came with this call.');
  }
  return { token: readToken(text), text, query: cut.query };
}

function bearerOf(value: string): string {
  // What an SDK sends whose key is an unset variable.
  if (/^(?:bearer)?$/i.test(value)) return '';
  const match = /^bearer +(\S+)$/i.exec(value);
  if (match === null)
    throw new SallyportError('AUTH_INVALID', 'The authorization header is not `Bearer spt_…`.');
  return match[1] as string;
}

function readToken(text: string): ParsedToken {
  if (text.includes('.sps_')) {
    throw new SallyportError(
      'SEAL_WRONG',
      'This gateway keeps no sealed keys yet; send the token without its seal.',
    );
  }
  const token = parseToken(text);
  if (token === null) {
    const reason = /^(sk-|gsk_|xai-|AIza)/.test(text)
      ? 'That looks like a provider key. Calls through Sallyport carry a gateway token (spt_…); the provider key is stored once and stays in the vault.'
      : 'The token is not well-formed: a gateway token is spt_ and 61 characters.';
    throw new SallyportError('AUTH_INVALID', reason);
  }
  if (token.kind === 'spa') {
    throw new SallyportError(
      'AUTH_INVALID',
      'That is an admin token (spa_…): it belongs to /api. Model calls take a gateway token (spt_…).',
    );
  }
  return token;
}

/**
 * Takes `key=` out of a query, however its name is written: what stays would be a second credential beside the stored key, or the
 * token itself. The other bytes stay as they are.
 */
function takeKeyParameter(query: string): { key: string | null; query: string } {
  if (!/[?&](?:k|%6b)/i.test(query)) return { key: null, query };
  const kept: string[] = [];
  let key: string | null = null;
  for (const part of query.slice(1).split('&')) {
    const equals = part.indexOf('=');
    const name = equals < 0 ? part : part.slice(0, equals);
    if (decodeURIComponentOrNull(name) !== 'key') {
      kept.push(part);
      continue;
    }
    const value = decodeURIComponentOrNull(equals < 0 ? '' : part.slice(equals + 1));
    if (value === null || (key !== null && key !== value)) {
      throw new SallyportError(
        'REQUEST_INVALID',
        'The query parameter key came twice or is not well-formed.',
      );
    }
    key = value;
  }
  return { key, query: kept.length === 0 ? '' : `?${kept.join('&')}` };
}

function decodeURIComponentOrNull(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
