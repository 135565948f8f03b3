import type { Socket } from 'node:net';
import type { Test } from 'tap';
import type { ConnectionOptions } from '../../src/db/connection.ts';
import { relayToDatabase } from './relay-to-database.ts';

/** What becomes of a COMMIT: it goes through; the connection is reset before the server has it; or after it was done, before the answer. */
export type Fate = 'pass' | 'not done' | 'done';

export interface CommitLine {
  readonly connection: (to: ConnectionOptions) => Promise<ConnectionOptions>;
  /** Asked for each COMMIT, with the statements of its transaction. */
  fate: (statements: string) => Fate;
}

/**
 * A way to the database that knows so much of its protocol (PostgreSQL, "Message Formats": a type, a length that counts itself, a body) as to
 * reset a connection at a COMMIT.
 */
export function commitLine(t: Pick<Test, 'teardown'>): CommitLine {
  const sockets = new Set<Socket>();
  const line: CommitLine = {
    fate: () => 'pass',
    async connection(to) {
      if ('url' in to && new URL(to.url).searchParams.has('sslmode'))
        throw new Error('what is encrypted cannot be read');
      return relayToDatabase(t, to, sockets, (client, onward) =>
        relay(client, onward, (statements) => line.fate(statements)),
      );
    },
  };
  return line;
}

const [query, parse, commandComplete] = [0x51, 0x50, 0x43];

function relay(client: Socket, onward: Socket, fate: (statements: string) => Fate): void {
  let statements = '';
  let isCommitting = false;
  const cut = (): void => {
    client.resetAndDestroy();
    // A Unix socket has no reset.
    onward.destroy();
  };
  onward.on('data', (data: Buffer) => {
    // The answer to a COMMIT begins with CommandComplete; whatever it says, nobody hears of it.
    if (!isCommitting) client.write(data);
    else if (data[0] === commandComplete) cut();
  });
  // The first message has no type.
  let head = 4;
  let rest = Buffer.alloc(0);
  client.on('data', (data: Buffer) => {
    rest = Buffer.concat([rest, data]);
    while (rest.length >= head) {
      const length = head - 4 + rest.readUInt32BE(head - 4);
      if (rest.length < length) return;
      const message = rest.subarray(0, length);
      rest = rest.subarray(length);
      if (head === 5 && (message[0] === query || message[0] === parse)) {
        const text = message.toString('latin1', 5, Math.min(length, 2000));
        if (text.startsWith('begin')) statements = '';
        statements += text;
        if (text.startsWith('commit')) {
          const what = fate(statements);
          if (what === 'not done') return cut();
          isCommitting = what === 'done';
        }
      }
      head = 5;
      onward.write(message);
    }
  });
}
