import {
  CompiledQuery,
  type DatabaseConnection,
  Kysely,
  PostgresAdapter,
  PostgresDriver,
  PostgresIntrospector,
  PostgresQueryCompiler,
} from 'kysely';
import pg from 'pg';
import type { Schema } from './schema.ts';

/** What a transaction may see. An empty name sees nothing. */
export interface Scope {
  readonly role: 'sallyport_app' | 'sallyport_system';
  readonly workspace: string;
  readonly lookup: string;
}

/** Milliseconds after which the server itself ends a statement. */
const statementTimeoutMs = 30_000;

/**
 * Everything is local to the transaction and every setting is said each time: behind a pooler the session is shared with strangers,
 * and what one of them left in it must not widen the view.
 */
function opening({ role, workspace, lookup }: Scope): string {
  const settings = {
    role,
    'sallyport.workspace': workspace,
    'sallyport.lookup': lookup,
    statement_timeout: String(statementTimeoutMs),
    // The driver reads no other form, and makes null of it. A server, database or role may have one of its own.
    datestyle: 'ISO',
    // Off, it makes an error of each row that is hidden, where we mean it not to be there.
    row_security: 'on',
  };
  const calls = Object.entries(settings).map(
    ([name, value]) => `set_config('${name}', ${pg.escapeLiteral(value)}, true)`,
  );
  return `begin; select ${calls.join(', ')}`;
}

class ScopedDriver extends PostgresDriver {
  readonly #opening: string;

  constructor(client: pg.PoolClient, scope: Scope) {
    const oneClient = { query: client.query.bind(client), processID: 0, release: () => {} };
    super({ pool: { connect: async () => oneClient, end: async () => {}, options: {} } });
    this.#opening = opening(scope);
  }

  /** BEGIN and the role go in one message: there is no moment in which the transaction is open and unscoped. */
  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    try {
      await connection.executeQuery(CompiledQuery.raw(this.#opening));
    } catch (error) {
      // BEGIN itself may have passed; the connection goes back to the pool and must not carry it along.
      await connection.executeQuery(CompiledQuery.raw('rollback')).catch(() => {});
      throw error;
    }
  }
}

/** A kysely over one checked-out connection, whose transactions all open in `scope`. Cheap: it is made for each transaction. */
export function scopedKysely(client: pg.PoolClient, scope: Scope): Kysely<Schema> {
  return new Kysely<Schema>({
    dialect: {
      createAdapter: () => new PostgresAdapter(),
      createDriver: () => new ScopedDriver(client, scope),
      createIntrospector: (db) => new PostgresIntrospector(db),
      createQueryCompiler: () => new PostgresQueryCompiler(),
    },
  });
}

/**
 * One statement in a transaction of its own, all in one message: one way to the server and back in place of three.
 *
 * @param statement ours to the letter, as it takes no parameters
 */
export async function readAtOnce(client: pg.PoolClient, scope: Scope, statement: string): Promise<unknown[]> {
  try {
    // pg gives one result for each statement, and its types know of one only.
    const results: unknown = await client.query(`${opening(scope)}; ${statement}; commit`);
    return (results as pg.QueryResult[]).at(-2)?.rows ?? [];
  } catch (error) {
    await client.query('rollback').catch(() => {});
    throw error;
  }
}
