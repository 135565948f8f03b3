import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Test } from 'tap';
import { type WebSocket, WebSocketServer } from 'ws';

/** A session as the provider sees it. */
export interface SeenSession {
  readonly request: IncomingMessage;
  readonly socket: WebSocket;
  /** Below it, for what no WebSocket server would do. */
  readonly wire: Socket;
}

export interface SocketUpstream {
  readonly origin: string;
  readonly sessions: readonly SeenSession[];
  readonly sockets: ReadonlySet<Socket>;
  /** The next session that begins, of those whose URL has this in it. */
  next(part?: string): Promise<SeenSession>;
  /** The sub-protocol that is chosen where it is offered; null chooses none, whatever is offered. */
  choose(protocol: string | null): void;
  /** What is done instead of a handshake, for every request from now on; null is the handshake again. */
  instead(raw: ((request: IncomingMessage, wire: Socket) => void) | null): void;
}

/** A stand-in provider of WebSockets on a real socket, closed when the test ends. It would compress. */
export async function socketUpstream(t: Pick<Test, 'teardown'>): Promise<SocketUpstream> {
  const sockets = new Set<Socket>();
  const sessions: SeenSession[] = [];
  const waiting: { readonly part: string; readonly resolve: (session: SeenSession) => void }[] = [];
  let raw: ((request: IncomingMessage, wire: Socket) => void) | null = null;
  let chosen: string | null = 'realtime';
  // A gateway tries out a key that was refused, by a plain request. That is answered at once, with what says nothing of the key.
  const server = createServer(
    (_request, response) => void response.writeHead(503, { connection: 'close' }).end(),
  );
  const sessionsOf = new WebSocketServer({
    noServer: true,
    perMessageDeflate: true,
    handleProtocols: (offered) => (chosen !== null && offered.has(chosen) ? chosen : false),
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).once('close', () => sockets.delete(socket));
  });
  server.on('upgrade', (request, wire: Socket, head) => {
    if (raw !== null) {
      // Nobody else reads it, and hears that the other side has gone.
      wire.on('end', () => wire.destroy()).resume();
      return raw(request, wire);
    }
    sessionsOf.handleUpgrade(request, wire, head, (socket) => {
      socket.on('error', () => {});
      const session = { request, socket, wire };
      sessions.push(session);
      const at = waiting.findIndex(({ part }) => request.url?.includes(part));
      if (at >= 0) waiting.splice(at, 1)[0]?.resolve(session);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  });
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sessions,
    sockets,
    next: (part = '') => new Promise((resolve) => void waiting.push({ part, resolve })),
    choose(protocol) {
      chosen = protocol;
    },
    instead(next) {
      raw = next;
    },
  };
}
