import type { Provider } from '../providers/provider.ts';
import { SallyportError } from '../errors.ts';
import { refuseSecretInUrl } from './secret-in-url.ts';

/**
 * Where browsers put a key, which can give a WebSocket no header: OpenAI's realtime guide, and xAI's
 * (docs.x.ai/developers/rest-api-reference/inference/voice).
 */
const credentialStarts = ['openai-insecure-api-key.', 'xai-client-secret.'];
/** Of OpenAI: they choose whose account within the key's reach pays, as the headers of these names do. */
const accountStarts = ['openai-organization.', 'openai-project.'];

/** Tokens of RFC 9110, as `sec-websocket-protocol` has them; a JWT or one of ours fits in. */
const protocolShape = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,512}$/;
const maxProtocols = 32;

/** The credential in a sub-protocol, or null where it holds none. */
export function credentialIn(protocol: string): string | null {
  const start = credentialStarts.find((each) => protocol.startsWith(each));
  return start === undefined ? null : protocol.slice(start.length);
}

/** All that `sec-websocket-protocol` lists in one line. */
export function protocolsIn(value: string): string[] {
  return value.split(',').map((part) => part.trim());
}

/** @throws {SallyportError} REQUEST_INVALID: no token of RFC 9110, twice the same, too many, or a secret in the wrong one. */
export function checkProtocols(offered: readonly string[]): void {
  const isList =
    offered.length <= maxProtocols &&
    new Set(offered).size === offered.length &&
    offered.every((protocol) => protocolShape.test(protocol));
  if (!isList) {
    throw new SallyportError(
      'REQUEST_INVALID',
      `sec-websocket-protocol is not a list of at most ${maxProtocols} different tokens.`,
    );
  }
  for (const protocol of offered) if (credentialIn(protocol) === null) refuseSecretInUrl(protocol);
}

/** What the provider is asked for: of the client's credentials nothing, and whose account pays only where the key is his own. */
export function forwardedProtocols(
  offered: readonly string[],
  { ownKeyHeaders }: Pick<Provider, 'ownKeyHeaders'>,
  isOwnKey: boolean,
): string[] {
  return offered.filter((protocol) => {
    const account = accountStarts.find((each) => protocol.startsWith(each));
    if (account !== undefined) return isOwnKey && ownKeyHeaders.has(account.slice(0, -1));
    return credentialIn(protocol) === null;
  });
}

/**
 * What the client is told of the provider's choice. Browsers fail where they offered something and nothing was chosen, and xAI, which
 * takes a credential in this place too, chooses nothing: there the name that both SDKs go by stands for it.
 */
export function answeredProtocol(chosen: string | null, offered: readonly string[]): string | null {
  if (chosen !== null) return chosen;
  const hasCredential = offered.some((protocol) => credentialIn(protocol) !== null);
  return hasCredential && offered.includes('realtime') ? 'realtime' : null;
}
