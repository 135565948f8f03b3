import type { Client } from 'pg';
import { SallyportError } from '../errors.ts';
import { type ConnectionOptions, withClient } from './connection.ts';
import { type FoundingTable, foundingTables } from './snapshot.ts';

/** Takes rows in the form in which a snapshot gives them. */
export interface Refill {
  /** @throws {SallyportError} CONFLICT: a column that this version does not have. */
  insert(table: FoundingTable, rows: readonly string[]): Promise<void>;
}

/** @throws {SallyportError} CONFLICT: a deployment or a workspace is there. */
export async function checkUnfounded(connection: ConnectionOptions): Promise<void> {
  await withClient(connection, async (client) => {
    await client.query('begin read only');
    await checkEmpty(client);
    await client.query('commit');
  });
}

/**
 * Fills an empty database in one transaction: all of `work`, or nothing. No role may insert everywhere; the tables' owner lets
 * `sallyport_system` do so inside this transaction, and takes it back before the end of it, so that nobody else ever sees it.
 *
 * @param owner as the tables' owner.
 */
export async function refill<T>(owner: ConnectionOptions, work: (into: Refill) => Promise<T>): Promise<T> {
  return withClient(owner, async (client) => {
    await client.query('begin');
    // Two imports at once: the second finds the first one's rows, and refuses.
    await client.query(`lock table deployment in exclusive mode`);
    await checkEmpty(client);
    const columns = await columnsOf(client);
    const closed = await closedTables(client);
    await client.query(`grant insert on ${closed} to sallyport_system`);
    await client.query('set local role sallyport_system');
    const result = await work({
      insert: (table, rows) => insertRows(client, table, rows, columns.get(table) ?? new Set()),
    });
    await client.query('update epoch set value = value + 1');
    await client.query('reset role');
    await client.query(`revoke insert on ${closed} from sallyport_system`);
    await client.query('commit');
    return result;
  });
}

async function checkEmpty(client: Client): Promise<void> {
  await client.query('set local role sallyport_system');
  const { rows } = await client.query<{ isFounded: boolean }>(
    'select exists (select from deployment) or exists (select from workspaces) as "isFounded"',
  );
  await client.query('reset role');
  if (rows[0]?.isFounded !== true) return;
  throw new SallyportError('CONFLICT', 'The database holds a deployment already; nothing was changed.', {
    fix: 'Import into an empty installation: another DATA_DIR, or an empty database.',
  });
}

/** Tables that `sallyport_system` may not insert into. */
async function closedTables(client: Client): Promise<string> {
  const { rows } = await client.query<{ name: string }>(
    `select name from unnest($1::text[]) as name where not has_table_privilege('sallyport_system', name, 'insert')`,
    [foundingTables],
  );
  return rows.map(({ name }) => name).join(', ');
}

async function columnsOf(client: Client): Promise<Map<string, ReadonlySet<string>>> {
  const { rows } = await client.query<{ table: string; columns: string[] }>(
    `select name as table, array_agg(attname::text) as columns
     from unnest($1::text[]) as name join pg_attribute on attrelid = to_regclass(name)
     where attnum > 0 and not attisdropped group by name`,
    [foundingTables],
  );
  return new Map(rows.map(({ table, columns }) => [table, new Set(columns)]));
}

/** A column that the rows do not have gets its default: they may come from an older version. */
async function insertRows(
  client: Client,
  table: FoundingTable,
  rows: readonly string[],
  known: ReadonlySet<string>,
): Promise<void> {
  if (rows.length === 0) return;
  const columns = Object.keys(JSON.parse(rows[0] as string) as object);
  const stranger = columns.find((column) => !known.has(column));
  if (stranger !== undefined) {
    throw new SallyportError(
      'CONFLICT',
      `The file has a column ${table}.${stranger} that is not known here.`,
      {
        fix: 'Import with the version that exported it, or a newer one.',
      },
    );
  }
  const names = columns.map((column) => `"${column}"`).join(', ');
  await client.query(
    `insert into ${table} (${names}) select ${names} from jsonb_populate_recordset(null::${table}, $1::jsonb)`,
    [`[${rows.join(',')}]`],
  );
}
