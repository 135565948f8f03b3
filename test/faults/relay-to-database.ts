import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import path from 'node:path';
import type { Test } from 'tap';
import type { ConnectionOptions } from '../../src/db/connection.ts';

/**
 * A listener on loopback before a database. `join` is given both sockets of each connection and lets the bytes through; where one closes, the
 * other is destroyed.
 *
 * @param sockets holds those that are open.
 * @returns how to reach the database through it.
 */
export async function relayToDatabase(
  t: Pick<Test, 'teardown'>,
  to: ConnectionOptions,
  sockets: Set<Socket>,
  join: (client: Socket, onward: Socket) => void,
): Promise<ConnectionOptions> {
  const target =
    'url' in to
      ? { host: new URL(to.url).hostname, port: Number(new URL(to.url).port || 5432) }
      : { path: path.join(to.host, '.s.PGSQL.5432') };
  const server = createServer((client) => {
    const onward = connect(target as { path: string });
    for (const [one, other] of [
      [client, onward],
      [onward, client],
    ] as const) {
      sockets.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
    }
    join(client, onward);
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
}
