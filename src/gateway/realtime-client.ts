import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

/** A request for a WebSocket, as the HTTP server lets go of it. */
export interface Upgrade {
  readonly request: IncomingMessage;
  /** On the client's socket, for as long as the answer is one of HTTP. */
  readonly response: ServerResponse;
  readonly socket: Duplex;
  /** What came behind the request's head. */
  readonly head: Buffer;
}

/** What a client may say before he is told that he may. */
const maxEarlyBytes = 64 * 1024;
/** For the last words to leave. */
const lastWordMs = 2000;

/** The client before the change of protocols: only a socket that is read says that its client has gone. */
export class WaitingClient {
  readonly #upgrade: Upgrade;
  readonly #onGone: () => void;
  readonly #early: Buffer[] = [];
  #earlyBytes = 0;

  constructor(upgrade: Upgrade, onGone: () => void) {
    this.#upgrade = upgrade;
    this.#onGone = onGone;
    const { socket, head } = upgrade;
    // A client that resets is not a fault of ours; 'close' follows and says what is needed.
    socket.on('error', () => {});
    socket.on('data', this.#keep).on('end', onGone).on('close', onGone);
    if (head.length > 0) this.#keep(head);
    if (socket.destroyed) onGone();
  }

  readonly #keep = (chunk: Buffer): void => {
    this.#early.push(chunk);
    this.#earlyBytes += chunk.length;
    if (this.#earlyBytes > maxEarlyBytes) this.#upgrade.socket.pause();
  };

  /** Answers 101. @returns the socket, nobody's listener on it any more, and what was said early. */
  accept(headers: readonly string[]): { readonly socket: Duplex; readonly early: readonly Buffer[] } {
    const { response, socket } = this.#upgrade;
    response.writeHead(101, ['connection', 'Upgrade', 'upgrade', 'websocket', ...headers]);
    response.flushHeaders();
    response.detachSocket(socket as Parameters<ServerResponse['detachSocket']>[0]);
    socket.off('data', this.#keep).off('end', this.#onGone).off('close', this.#onGone);
    if (socket.isPaused()) socket.resume();
    return { socket, early: this.#early };
  }
}

/**
 * Ends a session's socket behind what was written. Bytes that still come are taken and forgotten: closing over unread ones resets, and
 * the last words would be lost. Whoever does not read does not get to keep the socket.
 */
export function endClient(socket: Duplex): void {
  if (socket.destroyed) return;
  const late = setTimeout(() => socket.destroy(), lastWordMs);
  socket.once('close', () => clearTimeout(late));
  socket.end();
  socket.resume();
}
