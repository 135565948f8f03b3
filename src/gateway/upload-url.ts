import type { IncomingMessage } from 'node:http';
import type { Place } from './base-url.ts';
import type { GatewayDeps } from './gateway.ts';
import type { Target } from './target.ts';

/** Where the next bytes of a resumable upload go (ai.google.dev/api/files, "Upload"). */
export const uploadUrlHeader = 'x-goog-upload-url';

const longest = 4096;

/**
 * The URL for the rest of a resumable upload, at this gateway: the provider's own leads past it, and clients would send their gateway
 * token there.
 *
 * @param url as the provider told it, or null.
 * @returns null where there is none, or it is not at the provider's own origin; it is held back then.
 */
export function uploadUrlHere(
  { ownOrigin }: Pick<GatewayDeps, 'ownOrigin'>,
  request: IncomingMessage,
  target: Pick<Target, 'provider' | 'origin'> | null,
  url: string | null,
): string | null {
  if (url === null || target === null || target.provider.dialect !== 'google' || url.length > longest)
    return null;
  const there = URL.parse(url);
  const here = ownOrigin(request);
  if (there === null || here === null || there.origin !== target.origin) return null;
  const { username, password, hash, pathname, search, searchParams } = there;
  // One that carries a credential of its own tells it to whoever reads it.
  const isPlain = username === '' && password === '' && hash === '' && !searchParams.has('key');
  return isPlain && pathname.startsWith('/upload/')
    ? `${here}/${target.provider.name}${pathname}${search}`
    : null;
}

/** The next bytes of a resumable upload, and not the request that begins it. */
export function isUploadedPart({ headers }: IncomingMessage, { rest }: Pick<Place, 'rest'>): boolean {
  return rest.startsWith('/upload/') && String(headers['x-goog-upload-command'] ?? '').includes('upload');
}
