import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import path from 'node:path';
import type { Test } from 'tap';
import type { ConnectionOptions } from '../../src/db/connection.ts';

export interface DatabaseLine {
  readonly connection: (to: ConnectionOptions) => Promise<ConnectionOptions>;
  /** Cuts every connection and takes no more. */
  cut(): void;
  mend(): void;
}

/** A way to the database that can be cut: to the gateway the server is gone, while the test still reaches it. */
export function databaseLine(t: Pick<Test, 'teardown'>): DatabaseLine {
  const sockets = new Set<Socket>();
  let isCut = false;
  return {
    async connection(to) {
      const target =
        'url' in to
          ? { host: new URL(to.url).hostname, port: Number(new URL(to.url).port || 5432) }
          : { path: path.join(to.host, '.s.PGSQL.5432') };
      const server = createServer((socket) => {
        if (isCut) {
          socket.destroy();
          return;
        }
        const onward = connect(target as { path: string });
        for (const [one, other] of [
          [socket, onward],
          [onward, socket],
        ] as const) {
          sockets.add(one);
          one.on('error', () => {});
          one.on('close', () => {
            sockets.delete(one);
            other.destroy();
          });
          one.pipe(other);
        }
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      t.teardown(() => {
        for (const socket of sockets) socket.destroy();
        server.close();
      });
      const { port } = server.address() as AddressInfo;
      if (!('url' in to)) return { url: `postgres://${to.user}@127.0.0.1:${port}/${to.database}` };
      const url = new URL(to.url);
      url.host = `127.0.0.1:${port}`;
      return { url: url.href };
    },
    cut() {
      isCut = true;
      for (const socket of sockets) socket.destroy();
    },
    mend() {
      isCut = false;
    },
  };
}
