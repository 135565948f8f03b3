import type { Socket } from 'node:net';
import type { Test } from 'tap';
import type { ConnectionOptions } from '../../src/db/connection.ts';
import { relayToDatabase } from './relay-to-database.ts';

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
    connection: (to) =>
      relayToDatabase(t, to, sockets, (client, onward) => {
        if (isCut) client.destroy();
        else client.pipe(onward).pipe(client);
      }),
    cut() {
      isCut = true;
      for (const socket of sockets) socket.destroy();
    },
    mend() {
      isCut = false;
    },
  };
}
