import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { Server as NetServer, type Socket } from 'node:net';
import { Server as TlsServer } from 'node:tls';

/** The connections of one HTTP server, and how they come to an end. */
export interface Connections {
  /** From now on answers say that they are the last of their connection. */
  retire(): void;
  /**
   * Lets nobody new in; resolves when the last connection has ended. One that asks nothing is closed when nothing has moved on it for
   * `quietMs()`, which is asked again and again.
   */
  close(quietMs: () => number): Promise<void>;
  /** Ends those that are left, in the middle of their answers. */
  cut(): void;
}

/** What Node keeps on a socket: the answer that is being written on it, until its last byte is with the system. */
type Answering = Socket & { readonly _httpMessage?: ServerResponse | null };

const tickMs = 50;

/**
 * Node's own way to end idle connections, which `close` of its HTTP server takes too, is no way to stop without a loss: it destroys
 * answers that are ended and not yet sent, and whoever sends a request at that moment is reset. HTTP/1.1 cannot take a connection back
 * (RFC 9112, 9.6): only an answer can say that it is the last. So a connection in use ends by such an answer, and what is closed
 * unasked has been quiet for a while.
 */
export function trackConnections(server: Server): Connections {
  const open = new Set<Answering>();
  /** No request has come yet, or no handshake has ended. */
  const silent = new Set<Socket>();
  /** A later request came before the first was answered: an answer that is the last one would cost the others theirs. */
  const pipelined = new WeakSet<Socket>();
  /** Under TLS a request comes on another socket than the connection, with the same other end. */
  const handshakes = new Map<string, Socket>();
  let isRetiring = false;

  const add = (socket: Socket): void => {
    open.add(socket);
    silent.add(socket);
    socket.once('close', () => {
      open.delete(socket);
      silent.delete(socket);
    });
  };
  const speak = (request: IncomingMessage, response: ServerResponse): void => {
    const socket: Answering = request.socket;
    silent.delete(socket);
    const first = socket._httpMessage;
    if (first === response) {
      if (isRetiring && !pipelined.has(socket)) response.shouldKeepAlive = false;
      return;
    }
    pipelined.add(socket);
    if (isRetiring && first?.headersSent === false) first.shouldKeepAlive = true;
  };
  server.on('connection', add).prependListener('request', speak);
  if (server instanceof TlsServer) {
    server.on('connection', (socket: Socket) => {
      const end = otherEnd(socket);
      handshakes.set(end, socket);
      socket.once('close', () => handshakes.delete(end));
    });
    server.on('secureConnection', (socket) => {
      const below = handshakes.get(otherEnd(socket));
      if (below !== undefined) {
        silent.delete(below);
        open.delete(below);
      }
      add(socket);
    });
  }
  // Whoever listens for these events answers them.
  if (server.listenerCount('checkContinue') > 0) server.prependListener('checkContinue', speak);
  if (server.listenerCount('upgrade') > 0) {
    server.prependListener('upgrade', ({ socket }: IncomingMessage) => {
      silent.delete(socket);
      open.delete(socket);
    });
  }

  function closeQuiet(quiet: Map<Socket, { since: number; bytes: number }>, quietMs: number): void {
    const now = performance.now();
    for (const socket of open) {
      const bytes = socket.bytesRead;
      const known = quiet.get(socket);
      if (socket._httpMessage != null) quiet.delete(socket);
      else if (known !== undefined && known.bytes === bytes && now - known.since >= quietMs) end(socket);
      else if (known?.bytes !== bytes) quiet.set(socket, { since: now, bytes });
    }
  }

  function end(socket: Socket): void {
    // With the farewell of TLS, where there is a session to end.
    if (silent.has(socket)) socket.destroy();
    else socket.destroySoon();
  }

  return Object.freeze<Connections>({
    retire() {
      isRetiring = true;
      for (const socket of open) {
        const answer = socket._httpMessage;
        if (answer?.headersSent === false && !pipelined.has(socket)) answer.shouldKeepAlive = false;
      }
    },
    async close(quietMs) {
      const quiet = new Map<Socket, { since: number; bytes: number }>();
      // Only after the sockets were read from again: what came in before this moment has its answer.
      const look = (): void => void setImmediate(() => closeQuiet(quiet, quietMs()));
      const ticks = setInterval(look, tickMs);
      look();
      // Not Node's own for HTTP, see above.
      await new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
      clearInterval(ticks);
    },
    cut: () => open.forEach((socket) => socket.destroy()),
  });
}

function otherEnd({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
