import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dialect } from '../dialects/dialect.ts';
import { renderError } from '../dialects/error-answer.ts';
import { SallyportError } from '../errors.ts';
import { takeRest } from './request-rest.ts';

/** Whatever was thrown, as an error that may be told: what is not of the table is a fault of ours, and says nothing of itself. */
export function asRefusal(error: unknown): SallyportError {
  if (error instanceof SallyportError) return error;
  return new SallyportError('INTERNAL', 'The gateway failed on this call.', { cause: error });
}

export interface Refused {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly dialect: Dialect;
  readonly requestId: string;
  /** Flat. */
  readonly headers: readonly string[];
  /** False where the client waits for `100 Continue` and has not been told to go on. */
  readonly isBodyComing: boolean;
}

export function sendRefusal(
  { request, response, dialect, requestId, headers, isBodyComing }: Refused,
  error: SallyportError,
): void {
  const answer = renderError(dialect, error, requestId);
  // The dialect's own headers win over ours: node takes the list as it is, so a name must stand there once.
  const names = new Set(Object.keys(answer.headers));
  const out: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    if (!names.has(headers[i] as string)) out.push(headers[i] as string, headers[i + 1] as string);
  }
  for (const [name, value] of Object.entries(answer.headers)) out.push(name, value);
  if (!names.has('content-length')) out.push('content-length', String(answer.body.length));
  if (request.complete || isBodyless(request) || !isBodyComing) {
    if (!isBodyComing) out.push('connection', 'close');
    response.writeHead(answer.status, out);
    response.end(answer.body);
    return;
  }
  linger(request, response, answer.status, out, answer.body);
}

/**
 * Closing a socket over unread bytes resets it, and the client loses the answer that says why. So the answer goes out whole, and the
 * end waits until the body is in, within bounds.
 */
function linger(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  headers: string[],
  body: Buffer,
): void {
  response.writeHead(status, [...headers, 'connection', 'close']);
  response.write(body);
  takeRest(request, () => response.end());
}

function isBodyless(request: IncomingMessage): boolean {
  return (
    request.headers['transfer-encoding'] === undefined && Number(request.headers['content-length'] ?? 0) === 0
  );
}
