import type { IncomingMessage } from 'node:http';

/** CORS for the data plane: an exact list of origins, none by default, and never with credentials. */
export function isPreflight(request: IncomingMessage, allowed: readonly string[]): boolean {
  return (
    request.method === 'OPTIONS' &&
    request.headers['access-control-request-method'] !== undefined &&
    allowed.includes(request.headers.origin ?? '')
  );
}

export function corsHeaders(
  request: IncomingMessage,
  allowed: readonly string[],
  preflight: boolean,
): string[] {
  const { origin } = request.headers;
  if (origin === undefined || !allowed.includes(origin)) return [];
  const headers = ['access-control-allow-origin', origin, 'vary', 'origin'];
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
