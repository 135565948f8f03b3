import { hash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { SallyportError } from '../errors.ts';
import { headerOf } from './forwarded-headers.ts';
import { checkProtocols, protocolsIn } from './realtime-protocols.ts';

/** What a client's handshake says (RFC 6455, 4.2.1). */
export interface Handshake {
  readonly key: string;
  /** As listed, credentials among them. */
  readonly protocols: readonly string[];
}

/** RFC 6455, 1.3. */
const guid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/**
 * @param corsOrigins a page may read what comes over its WebSocket without being allowed to by any header, so that here its origin is
 * judged before anything is done: it has to be one of these. Whoever is no page sends none.
 * @throws {SallyportError} REQUEST_INVALID, FORBIDDEN.
 */
export function readHandshake(request: IncomingMessage, corsOrigins: readonly string[]): Handshake {
  const { headers, rawHeaders } = request;
  if (request.method !== 'GET' || request.httpVersion !== '1.1')
    throw malformed('A WebSocket begins with a GET of HTTP/1.1.');
  const keys = valuesOf(rawHeaders, 'sec-websocket-key');
  const [key] = keys;
  if (keys.length !== 1 || key === undefined || !/^[A-Za-z0-9+/]{22}==$/.test(key))
    throw malformed('sec-websocket-key has to stand there once, and to be base64 of 16 bytes.');
  if (valuesOf(rawHeaders, 'sec-websocket-version').join() !== '13')
    throw malformed('Of WebSocket only version 13 (RFC 6455) is spoken here.');
  if (headers.upgrade?.toLowerCase() !== 'websocket')
    throw malformed('The header upgrade has to name websocket alone.');
  const { origin } = headers;
  if (origin !== undefined && !corsOrigins.includes(origin)) {
    throw new SallyportError('FORBIDDEN', 'Pages of this origin may not open WebSockets here.', {
      fix: 'Have the operator add the origin to CORS_ORIGINS.',
    });
  }
  const protocols = valuesOf(rawHeaders, 'sec-websocket-protocol').flatMap(protocolsIn);
  checkProtocols(protocols);
  return { key, protocols };
}

/** What a server answers to a key (RFC 6455, 4.2.2). */
export function acceptOf(key: string): string {
  return hash('sha1', key + guid, 'base64');
}

/**
 * Whether the provider answered this handshake and no other.
 *
 * @param asked the key that was sent, and the sub-protocols.
 * @returns the sub-protocol that it chose, or null.
 * @throws {SallyportError} UPSTREAM_ERROR
 */
export function checkAnswer(
  headers: readonly [string, string][],
  asked: { readonly key: string; readonly protocols: readonly string[] },
): string | null {
  const all = (name: string): string[] =>
    headers.flatMap(([each, value]) => (each === name ? [value.trim()] : []));
  const chosen = all('sec-websocket-protocol');
  const [protocol] = chosen;
  const isRight =
    headerOf(headers, 'upgrade')?.toLowerCase() === 'websocket' &&
    all('sec-websocket-accept').join() === acceptOf(asked.key) &&
    // None was offered: with one agreed on, the frames could not be told any more.
    all('sec-websocket-extensions').length === 0 &&
    (protocol === undefined || (chosen.length === 1 && asked.protocols.includes(protocol)));
  if (isRight) return protocol ?? null;
  throw new SallyportError('UPSTREAM_ERROR', 'The provider’s WebSocket handshake is not an answer to ours.');
}

function valuesOf(rawHeaders: readonly string[], wanted: string): string[] {
  const values: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2)
    if ((rawHeaders[i] as string).toLowerCase() === wanted) values.push((rawHeaders[i + 1] as string).trim());
  return values;
}

function malformed(message: string): SallyportError {
  return new SallyportError('REQUEST_INVALID', message);
}
