import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { Test } from 'tap';

export interface ConnectProxyOptions {
  /** Served by https. */
  readonly tls?: boolean;
  /** `user:password` without which it answers 407. */
  readonly credentials?: string;
  /** Where a name leads: a port of this machine. Others are refused with 502. */
  readonly routes?: ReadonlyMap<string, number>;
  /** Written in place of an answer; `end`: and the connection is closed. */
  readonly says?: { readonly bytes: string | Buffer; readonly end?: boolean };
}

export interface ConnectProxy {
  readonly url: string;
  /** Heads of the requests, as they came. */
  readonly heads: readonly string[];
  /** All that went through to the other side. */
  readonly passed: readonly Buffer[];
  readonly sockets: ReadonlySet<Socket>;
  set(options: ConnectProxyOptions): void;
}

const folder = new URL('tls/', import.meta.url);

/** A proxy as companies have them, on a real socket; closed when the test ends. */
export async function connectProxy(
  t: Pick<Test, 'teardown'>,
  options: ConnectProxyOptions = {},
): Promise<ConnectProxy> {
  let now = options;
  const heads: string[] = [];
  const passed: Buffer[] = [];
  const sockets = new Set<Socket>();

  const serve = async (socket: Socket): Promise<void> => {
    sockets.add(socket);
    socket.on('error', () => {}).once('close', () => sockets.delete(socket));
    let head = '';
    while (!head.includes('\r\n\r\n')) {
      const [chunk] = (await once(socket, 'data')) as [Buffer];
      head += chunk.toString('latin1');
    }
    socket.pause();
    heads.push(head);
    if (now.says !== undefined) {
      socket.write(now.says.bytes);
      if (now.says.end === true) socket.end();
      return;
    }
    const given = /^proxy-authorization: Basic (\S+)\r$/im.exec(head)?.[1] ?? '';
    if (now.credentials !== undefined && Buffer.from(given, 'base64').toString() !== now.credentials) {
      socket.end('HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm="p"\r\n\r\n');
      return;
    }
    const port = now.routes?.get(/^CONNECT (\S+) HTTP\/1\.1\r\n/.exec(head)?.[1] ?? '');
    if (port === undefined) {
      socket.end('HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n');
      return;
    }
    const other = connect(port, '127.0.0.1');
    other.on('error', () => socket.destroy());
    await once(other, 'connect');
    socket.write('HTTP/1.1 200 Connection established\r\nvia: 1.1 proxy\r\n\r\n');
    socket.on('data', (chunk: Buffer) => passed.push(chunk));
    socket.pipe(other).pipe(socket);
    socket.once('close', () => other.destroy());
    other.once('close', () => socket.destroy());
  };
  const onSocket = (socket: Socket): void => void serve(socket).catch(() => socket.destroy());

  const server: Server =
    options.tls === true
      ? createTlsServer(
          { cert: readFileSync(new URL('leaf.pem', folder)), key: readFileSync(new URL('leaf.key', folder)) },
          onSocket,
        )
      : createServer(onSocket);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const { port } = server.address() as AddressInfo;
  return Object.freeze({
    url: `${options.tls === true ? 'https' : 'http'}://127.0.0.1:${port}`,
    heads,
    passed,
    sockets,
    set(next: ConnectProxyOptions) {
      now = next;
    },
  });
}
