import type { IncomingMessage } from 'node:http';

/** How much of a body that nobody wants is taken in, and for how long. */
const maxBytes = 16 * 1024 * 1024;
const maxMs = 5000;

/** Reads and forgets what is left of a request's body. @param done called once: at its end, at a bound, or when the client is gone */
export function takeRest(request: IncomingMessage, done: () => void): void {
  let bytes = 0;
  const onData = (chunk: Buffer): void => {
    bytes += chunk.length;
    if (bytes > maxBytes) stop();
  };
  const stop = (): void => {
    clearTimeout(timer);
    request.off('data', onData).off('end', stop).off('close', stop);
    request.socket.off('close', stop);
    done();
  };
  const timer = setTimeout(stop, maxMs);
  // An upload that nobody reads any more would hold the request back.
  request.unpipe();
  request
    .on('data', onData)
    .on('end', stop)
    .on('close', stop)
    .on('error', () => {})
    .resume();
  // A request whose answer is finished hears nothing of its socket's end.
  request.socket.on('close', stop);
}

/**
 * After an answer that came before the whole body did. Left unread, it would stand before the next request on this connection, and
 * a client that sends before it reads would wait for ever.
 */
export function discardRest(request: IncomingMessage): void {
  if (request.complete || request.destroyed) return;
  takeRest(request, () => {
    if (!request.complete) request.socket.destroy();
  });
}
