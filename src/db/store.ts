import type { Transaction } from 'kysely';
import pg from 'pg';
import { clientConfig, type ConnectionOptions } from './connection.ts';
import type { Schema } from './schema.ts';
import { readAtOnce, scopedKysely, type Scope } from './scoped-driver.ts';
import { createShare } from './store-share.ts';

export type Tx = Transaction<Schema>;

/** Each transaction takes a role, and with it what it may see. */
export interface Transactions {
  /** Role `sallyport_app`: rows of this workspace, all others don't exist. */
  readonly asWorkspace: <T>(workspaceId: string, work: (tx: Tx) => Promise<T>) => Promise<T>;
  /** Role `sallyport_system`: every workspace, within its grants. */
  readonly asSystem: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>;
  /** Role `sallyport_app`, no workspace: the one token whose `prefix` is `id`, to read only. */
  readonly asLookup: <T>(id: string, work: (tx: Tx) => Promise<T>) => Promise<T>;
}

/** The only way to the tables. */
export interface Store extends Transactions {
  /**
   * The same, with all connections but three: for the admin side, where whoever asks for hundreds of things at once would have
   * calls wait, whose look-ups are short, and the version row, by which rights end. Whoever waits for one as long as a whole transaction
   * may take is refused, as by a database that does not answer.
   */
  readonly unhurried: Transactions;
  /** The version row, at once: it is asked for four times a second. */
  readonly readEpoch: () => Promise<bigint>;
  /** Rejects when the database doesn't answer. */
  readonly ping: () => Promise<void>;
  /** Of the pool; `waiting`: transactions that have none yet. */
  readonly connections: () => { readonly busy: number; readonly idle: number; readonly waiting: number };
  readonly close: () => Promise<void>;
}

/** Of one process, unless it is told otherwise. */
export const mostConnections = 10;

export interface StoreOptions {
  readonly connection: ConnectionOptions;
  /** 1 to 100; default 10. The embedded server takes 40 in all, for several workers more. */
  readonly maxConnections?: number;
  /** Milliseconds for a whole transaction, default 30 000; then its connection is cut, also when the server is frozen and answers nothing. */
  readonly deadlineMs?: number;
}

/** Look-ups of calls, the version row, the journal's shipping. */
const keptFree = 3;

/** Ids and prefixes; the bound also keeps NUL, which PostgreSQL has no text for, and the empty name out. */
const name = /^[\x21-\x7e]{1,128}$/;

const system: Scope = { role: 'sallyport_system', workspace: '', lookup: '' };

function checked(text: string): string {
  if (!name.test(text)) throw new TypeError('not an id that a scope can name');
  return text;
}

/** Connects on first use. Errors are PostgreSQL's own; `isDatabaseGone` tells an absent database from a refusal. */
export function openStore({
  connection,
  maxConnections = mostConnections,
  deadlineMs = 30_000,
}: StoreOptions): Store {
  const pool = new pg.Pool({ ...clientConfig(connection), max: maxConnections });
  // Connections that the server cuts while they idle, or between two queries of a transaction, are no fault of the process.
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));

  async function withConnection<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await pool.connect();
    let isLate = false;
    const deadline = setTimeout(() => {
      isLate = true;
      // Destroys the socket when a query is under way, which then rejects.
      void (client as unknown as pg.Client).end();
    }, deadlineMs);
    try {
      return await work(client);
    } catch (error) {
      if (!isLate) throw error;
      throw Object.assign(
        new Error(`the database did not answer within ${deadlineMs} ms`, { cause: error }),
        { code: 'ETIMEDOUT' },
      );
    } finally {
      clearTimeout(deadline);
      client.release(isLate);
    }
  }

  const scoped = <T>(scope: Scope, work: (tx: Tx) => Promise<T>): Promise<T> =>
    withConnection((client) => scopedKysely(client, scope).transaction().execute(work));

  const transactions: Transactions = {
    asWorkspace: async (workspaceId, work) =>
      scoped({ role: 'sallyport_app', workspace: checked(workspaceId), lookup: '' }, work),
    asSystem: async (work) => scoped(system, work),
    asLookup: async (id, work) => scoped({ role: 'sallyport_app', workspace: '', lookup: checked(id) }, work),
  };
  const share = createShare(Math.max(1, maxConnections - keptFree), deadlineMs);

  return Object.freeze<Store>({
    ...transactions,
    unhurried: Object.freeze<Transactions>({
      asWorkspace: (workspaceId, work) => share.run(() => transactions.asWorkspace(workspaceId, work)),
      asSystem: (work) => share.run(() => transactions.asSystem(work)),
      asLookup: (id, work) => share.run(() => transactions.asLookup(id, work)),
    }),
    readEpoch: async () => {
      const rows = await withConnection((client) => readAtOnce(client, system, 'select value from epoch'));
      return (rows as [{ readonly value: bigint }])[0].value;
    },
    ping: async () => {
      await withConnection((client) => client.query('select 1'));
    },
    connections: () => ({
      busy: pool.totalCount - pool.idleCount,
      idle: pool.idleCount,
      waiting: pool.waitingCount + share.waiting(),
    }),
    close: async () => pool.end(),
  });
}
