import { SallyportError } from '../errors.ts';

/** Tokens and seals, by their first characters and a length that no other word of a URL has. */
const secret = /sp[ast]_[\w-]{40}/;

/**
 * What stands in a URL is written down on its way: access logs, histories, `referer`. The one exception is a token in `key=`, where
 * some SDKs put it, and which is taken out before. Escapes are read byte by byte: a provider's router would do so too.
 *
 * @throws {SallyportError} REQUEST_INVALID
 */
export function refuseSecretInUrl(part: string): void {
  const text = part.includes('%')
    ? part.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCodePoint(Number.parseInt(hex, 16)))
    : part;
  if (secret.test(text)) throw secretInUrl();
}

export function secretInUrl(): SallyportError {
  return new SallyportError(
    'REQUEST_INVALID',
    'A token or a seal stands in the URL; it belongs in a header, never in a URL.',
    {
      fix: 'Send it where your SDK puts its API key, or a seal in x-sallyport-seal. What was in a URL may have been logged: replace it.',
    },
  );
}
