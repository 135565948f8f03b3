import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import type { Test } from 'tap';

/** A request as bytes. */
export interface RawRequest {
  /** Request line and headers. */
  readonly head: string;
  /** Empty where the play answers before it has come. */
  readonly body: Buffer;
  /** Settles when the connection is closed, from whichever side. */
  readonly closed: Promise<void>;
}

/** Writes an answer, or a part of one, as bytes; the connection then waits for the next request. */
export type Play = (socket: Socket, request: RawRequest) => void | Promise<void>;

/** What the request asks for: how its bytes are answered, and whether before its body has come. */
export interface Cast {
  readonly play: Play;
  readonly isEarly?: boolean;
}

export interface RawUpstream {
  readonly origin: string;
  readonly port: number;
  readonly sockets: ReadonlySet<Socket>;
  close(): Promise<void>;
}

/**
 * A provider that writes what no HTTP server would. `castOf` sees the head, and the whole request where there is a body; null: not
 * enough to tell yet.
 */
export async function rawUpstream(
  t: Pick<Test, 'teardown'>,
  castOf: (head: string, body: Buffer) => Cast | null,
): Promise<RawUpstream> {
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true, allowHalfOpen: false }, (socket) => {
    sockets.add(socket);
    const closed = new Promise<void>((resolve) => {
      socket.once('close', () => {
        sockets.delete(socket);
        resolve();
      });
    });
    socket.on('error', () => {}); // resets are part of the play
    void serve(socket, closed, castOf);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const close = async (): Promise<void> => {
    if (!server.listening) return;
    const ended = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await ended;
  };
  t.teardown(close);
  return Object.freeze({ origin: `http://127.0.0.1:${port}`, port, sockets, close });
}

/** Each part is a write of its own, as latin1; then the connection is closed. */
export async function written(socket: Socket, parts: readonly string[]): Promise<void> {
  for (const part of parts) {
    await new Promise((done) => void socket.write(part, 'latin1', done));
    await new Promise((done) => void setImmediate(done));
  }
  socket.end();
}

async function serve(
  socket: Socket,
  closed: Promise<void>,
  castOf: (head: string, body: Buffer) => Cast | null,
): Promise<void> {
  let pending: Buffer = Buffer.alloc(0);
  try {
    for await (const chunk of socket) {
      pending = Buffer.concat([pending, chunk as Buffer]);
      for (let at = pending.indexOf('\r\n\r\n'); at >= 0; at = pending.indexOf('\r\n\r\n')) {
        const head = pending.subarray(0, at).toString('latin1');
        const end = endOfBody(head, pending, at + 4);
        const cast = castOf(head, pending.subarray(at + 4, end ?? pending.length));
        if (cast === null || (end === null && cast.isEarly !== true)) break;
        const body = end === null ? Buffer.alloc(0) : pending.subarray(at + 4, end);
        pending = end === null ? Buffer.alloc(0) : pending.subarray(end);
        await cast.play(socket, { head, body, closed });
        // What is left of that body is nobody's next request.
        if (end === null) return void socket.resume();
      }
    }
  } catch {
    // The caller went away.
  }
}

/** Null: it has not all come. */
function endOfBody(head: string, bytes: Buffer, from: number): number | null {
  if (/^transfer-encoding: *chunked/im.test(head)) {
    const at = bytes.indexOf('0\r\n\r\n', from);
    return at < 0 ? null : at + 5;
  }
  const length = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
  return bytes.length >= from + length ? from + length : null;
}
