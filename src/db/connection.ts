import pg from 'pg';
import { typeParsers } from './types.ts';

export interface SocketConnection {
  /** The absolute folder of a Unix socket. */
  readonly host: string;
  readonly user: string;
  readonly database: string;
}

/** Where the database is: a URL, or a socket's folder (the embedded server). */
export type ConnectionOptions = { readonly url: string } | SocketConnection;

/** The port is a part of the socket's name only: `.s.PGSQL.5432`. */
export const socketPort = 5432;

/** What pg needs. Said in full for a socket, or PGPORT and PGSSLMODE of somebody's shell would have a say in it. */
export function clientConfig(connection: ConnectionOptions): pg.ClientConfig {
  const common = {
    types: typeParsers,
    application_name: 'sallyport',
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
  };
  if ('url' in connection) return { ...common, connectionString: connection.url };
  const { host, user, database } = connection;
  return { ...common, host, user, database, port: socketPort, password: '', ssl: false };
}

/** A connection of its own, closed after `work`. */
export async function withClient<T>(
  connection: ConnectionOptions,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const client = new pg.Client(clientConfig(connection));
  // A connection that dies between two queries reports it here; the next query fails by itself, and without a listener the process would.
  client.on('error', () => {});
  try {
    await client.connect();
    return await work(client);
  } finally {
    await client.end().catch(() => {});
  }
}

const gone =
  /^(08|53300|57P0[1-5]|ECONN|EPIPE|ENOENT|ENOTFOUND|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|EAI_AGAIN)/;
const goneMessages =
  /^(Connection terminated|Client was closed|Client has encountered a connection error|timeout exceeded when trying to connect)/;

/** Is the database out of reach (as opposed to a refusal by it)? SQLSTATE classes 08 and 57P, 53300, and the socket's own errors. */
export function isDatabaseGone(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error instanceof AggregateError && error.errors.some(isDatabaseGone)) return true;
  const { code } = error as { code?: unknown };
  return (typeof code === 'string' && gone.test(code)) || goneMessages.test(error.message);
}
