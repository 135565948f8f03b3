import pg from 'pg';
import { clientConfig, type ConnectionOptions } from './connection.ts';

/** Two 32-bit numbers: "sall", "gate". */
const lock = [0x73616c6c, 0x67617465] as const;

export interface GatewayLock {
  /** Resolves when its session has ended, by whomever. */
  readonly ended: Promise<void>;
  release(): Promise<void>;
}

/**
 * A session lock that means "the gateway of this data directory". It lives as long as its connection, so the kill of a gateway frees
 * it; null when another holds it. For the embedded server only: behind a pooler a session isn't ours.
 */
export async function holdGatewayLock(connection: ConnectionOptions): Promise<GatewayLock | null> {
  const client = new pg.Client(clientConfig(connection));
  client.on('error', () => {});
  const ended = new Promise<void>((resolve) => client.once('end', () => resolve()));
  try {
    await client.connect();
    const { rows } = await client.query<{ held: boolean }>(
      'select pg_try_advisory_lock($1::int, $2::int) as held',
      [...lock],
    );
    if (rows[0]?.held === true)
      return Object.freeze({ ended, release: async () => client.end().catch(() => {}) });
  } catch (error) {
    await client.end().catch(() => {});
    throw error;
  }
  await client.end();
  return null;
}
