/**
 * A process that holds a data directory's server as a gateway does. argv: the data directory. Writes one line of JSON when it is up,
 * another at SIGINT after a query, and lives until it is killed.
 */
import { withClient } from '../../src/db/connection.ts';
import { startEmbedded } from '../../src/db/embedded.ts';

const say = (line: unknown): boolean => process.stdout.write(`${JSON.stringify(line)}\n`);

process.on('SIGINT', () => {
  void withClient(server.connection, (client) => client.query('select 1')).then(() =>
    say({ survived: true }),
  );
});
const server = await startEmbedded({ dataDir: process.argv[2] ?? '' }).catch(
  (error: Error & { code?: string; fix?: string }) => {
    say({ error: error.message, code: error.code, fix: error.fix });
    process.exit(78);
  },
);
say({ pid: server.pid, adopted: server.adopted });
setInterval(() => {}, 60_000);
