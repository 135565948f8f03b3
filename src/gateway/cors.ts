import type { IncomingMessage } from 'node:http';

/**
 * CORS for the data plane: an exact list of origins, none by default, and never with credentials (cookies, client certificates): a page
 * sends its token in a header. A preflight of another origin is a call without a token, and refused as one.
 */
export function isPreflight(request: IncomingMessage, allowed: readonly string[]): boolean {
  return (
    request.method === 'OPTIONS' &&
    request.headers['access-control-request-method'] !== undefined &&
    allowed.includes(request.headers.origin ?? '')
  );
}

/** Flat. */
export function corsHeaders(
  request: IncomingMessage,
  allowed: readonly string[],
  preflight: boolean,
): string[] {
  if (allowed.length === 0) return [];
  // For whoever asks, so that no cache hands one origin the answer to another.
  const headers = ['vary', 'origin'];
  const { origin } = request.headers;
  if (origin === undefined || !allowed.includes(origin)) return headers;
  headers.push('access-control-allow-origin', origin);
  if (!preflight) return [...headers, 'access-control-expose-headers', '*'];
  const asked = request.headers['access-control-request-headers'];
  headers.push(
    'access-control-allow-methods',
    'GET, HEAD, POST, PUT, PATCH, DELETE',
    'access-control-max-age',
    '600',
  );
  if (typeof asked === 'string') headers.push('access-control-allow-headers', asked);
  return headers;
}
