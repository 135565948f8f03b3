import { timingSafeEqual } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { sql } from 'kysely';
import type { Store } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { wipe } from '../secret.ts';
import { canaryContext, serviceContext, workspaceKeyContext } from './context.ts';
import { findCanaryKey } from './deployment.ts';
import { KekError } from './kek-provider.ts';
import type { KekRing } from './keyring.ts';
import { countByRootKey } from './keyring-survey.ts';
import { kinds, VaultError, type Kind } from './record.ts';

/** What a run has come to. */
export interface RewrapProgress {
  /** Rows that were not under the active root key when last counted. */
  readonly remaining: number;
  readonly rewrapped: number;
  /** Rows that do not open: changed, or denied by the key service. They are left as they are. */
  readonly failed: number;
}

export interface RewrapDeps {
  readonly store: Pick<Store, 'asSystem'>;
  readonly ring: KekRing;
  readonly deploymentId: string;
  readonly onProgress?: (now: RewrapProgress) => void;
  /** A row that does not open. `place` names it. */
  readonly onFailed?: (place: string, error: unknown) => void;
  /** Rows in one statement, 1 to 5000. */
  readonly batchRows?: number;
}

interface Row {
  /** Primary key: workspace and version, or the id of an intake or signing key and 0. */
  readonly id: string;
  readonly version: number;
  readonly rootKeyId: string;
  readonly record: Buffer;
}

/** One table of records under root keys. */
interface Work {
  readonly table: 'workspace_keys' | 'intake_keys' | 'signing_keys';
  readonly kind: Kind;
  readonly context: (row: Row, rootKeyId: string) => Buffer;
}

/** Rows that are sealed anew side by side: with a key service the time is all waiting. */
const abreast = 8;
/** Milliseconds of work after which calls get their turn. */
const turnMs = 4;

/**
 * Seals everything that is not under the active root key anew under it: workspace keys, intake keys, the signing key and the canary.
 * Every new record is opened and compared before it is written, and is written only where the old one still stands, so that a run may be killed at any
 * moment, run again, and run twice at once: what is done is known by the rows themselves. No network call is made within a transaction.
 *
 * @throws {KekError} a key service that does not answer (isWide). {SallyportError} CONFLICT: another root key was promoted meanwhile.
 *   What is done stays done.
 */
export async function rewrap(deps: RewrapDeps, signal: AbortSignal): Promise<RewrapProgress> {
  const { store, ring, deploymentId, onProgress, batchRows = 500 } = deps;
  const target = ring.active().id;
  let rewrapped = 0;
  let failed = 0;
  let turnedAt = performance.now();
  // The first goes alone: after an outage a key service is asked by one caller, and the others are told that it is away (kek-hold-off.ts).
  let width = 1;
  let remaining = await remainingOf(store, target);
  const tell = (): RewrapProgress => {
    const now = { remaining, rewrapped, failed };
    onProgress?.(now);
    return now;
  };
  tell();

  async function seal(row: Row, { kind, context, table }: Work): Promise<Buffer | null> {
    try {
      return await sealAnew(ring, kind, row, target, context);
    } catch (error) {
      if (error instanceof KekError ? error.isWide : !(error instanceof VaultError)) throw error;
      failed += 1;
      deps.onFailed?.(`${table} ${row.id}`, error);
      return null;
    }
  }

  async function pass(work: Work): Promise<void> {
    let after: Pick<Row, 'id' | 'version'> = { id: '', version: 0 };
    for (;;) {
      signal.throwIfAborted();
      const rows = await readBatch(store, work.table, target, after, batchRows);
      const last = rows.at(-1);
      if (last === undefined) return;
      after = last;
      const next: { row: Row; record: Buffer }[] = [];
      for (let i = 0; i < rows.length;) {
        signal.throwIfAborted();
        const handful = rows.slice(i, i + width);
        i += handful.length;
        // All of them end before the run does: none asks on behind a caller's back.
        const records = await Promise.allSettled(handful.map((row) => seal(row, work)));
        width = abreast;
        for (const [k, record] of records.entries()) {
          if (record.status === 'rejected') throw record.reason;
          if (record.value !== null) next.push({ row: handful[k] as Row, record: record.value });
        }
        if (performance.now() - turnedAt > turnMs) {
          await setImmediate();
          turnedAt = performance.now();
        }
      }
      const count = await writeBatch(deps, work.table, target, next);
      rewrapped += count;
      // What was not written another run has done meanwhile.
      remaining = Math.max(0, remaining - next.length);
      tell();
    }
  }

  await pass({
    table: 'workspace_keys',
    kind: kinds.workspaceKey,
    context: ({ id, version }, rootKeyId) =>
      workspaceKeyContext({ deploymentId, workspaceId: id, version, rootKeyId }),
  });
  await pass({
    table: 'intake_keys',
    kind: kinds.service,
    context: ({ id }) => serviceContext(deploymentId, '', 'intake', id),
  });
  await pass({
    table: 'signing_keys',
    kind: kinds.service,
    context: ({ id }) => serviceContext(deploymentId, '', 'signing', id),
  });
  if (await rewrapCanary(deps, target)) rewrapped += 1;
  remaining = await remainingOf(store, target);
  return tell();
}

/** The record under `target`, which was opened once and held the same bytes. */
async function sealAnew(
  ring: KekRing,
  kind: Kind,
  row: Row,
  target: string,
  context: (row: Row, rootKeyId: string) => Buffer,
): Promise<Buffer> {
  let [bytes, again]: (Buffer | null)[] = [null, null];
  try {
    bytes = await ring.unwrap(row.rootKeyId, kind, context(row, row.rootKeyId), row.record);
    const place = context(row, target);
    const record = await ring.wrap(target, kind, place, bytes);
    again = await ring.unwrap(target, kind, place, record);
    if (again.length !== bytes.length || !timingSafeEqual(again, bytes))
      throw new KekError('wrong_key', `Root key ${target} gives back other bytes.`);
    return record;
  } finally {
    wipe(bytes, again);
  }
}

async function rewrapCanary({ store, ring, deploymentId }: RewrapDeps, target: string): Promise<boolean> {
  const row = await store.asSystem((tx) =>
    tx.selectFrom('deployment').select(['id', 'canary']).executeTakeFirst(),
  );
  if (row === undefined) return false;
  const rootKeyId = await findCanaryKey(ring, row);
  if (rootKeyId === null || rootKeyId === target) return false;
  const whole = { id: row.id, version: 0, rootKeyId, record: row.canary };
  const record = await sealAnew(ring, kinds.canary, whole, target, () => canaryContext(deploymentId));
  return store.asSystem(async (tx) => {
    const { numUpdatedRows } = await tx
      .updateTable('deployment')
      .set({ canary: record })
      .where('canary', '=', row.canary)
      .executeTakeFirst();
    demandActive(ring, target);
    return numUpdatedRows > 0n;
  });
}

/**
 * Asked once the row is written and its table locked against `retire`, which counts after every ring has taken over the active key:
 * either it counts this row, or the ring here says by now that the key may go, and the row is rolled back.
 */
function demandActive(ring: KekRing, target: string): void {
  if (ring.active().id === target) return;
  throw new SallyportError('CONFLICT', `Root key ${target} is no longer the active one.`, {
    fix: 'Run it again: bin/sallyport keyring rewrap',
  });
}

async function remainingOf(store: Pick<Store, 'asSystem'>, target: string): Promise<number> {
  let sum = 0;
  for (const [id, count] of await countByRootKey(store)) if (id !== target) sum += count;
  return sum;
}

async function readBatch(
  store: Pick<Store, 'asSystem'>,
  table: Work['table'],
  target: string,
  after: Pick<Row, 'id' | 'version'>,
  limit: number,
): Promise<readonly Row[]> {
  const { rows } = await store.asSystem((tx) =>
    table === 'workspace_keys'
      ? sql<Row>`select workspace_id as id, version, root_key_id as "rootKeyId", record from workspace_keys
          where (workspace_id, version) > (${after.id}, ${after.version}::int) and root_key_id <> ${target}
          order by workspace_id, version limit ${limit}`.execute(tx)
      : sql<Row>`select id, 0 as version, root_key_id as "rootKeyId", record from ${sql.table(table)}
          where id > ${after.id} and root_key_id <> ${target} order by id limit ${limit}`.execute(tx),
  );
  return rows;
}

/** One statement, and only rows that still are as they were read. @returns how many */
async function writeBatch(
  { ring, store }: Pick<RewrapDeps, 'ring' | 'store'>,
  table: Work['table'],
  target: string,
  next: readonly { readonly row: Row; readonly record: Buffer }[],
): Promise<number> {
  if (next.length === 0) return 0;
  const ids = next.map(({ row }) => row.id);
  const versions = next.map(({ row }) => row.version);
  const oldIds = next.map(({ row }) => row.rootKeyId);
  const oldRecords = next.map(({ row }) => row.record);
  const records = next.map(({ record }) => record);
  return store.asSystem(async (tx) => {
    // Two runs that lock the same rows in another order each would wait for one another.
    await sql`select pg_advisory_xact_lock(hashtext('sallyport rewrap'))`.execute(tx);
    const isSame =
      table === 'workspace_keys' ? sql`t.workspace_id = n.id and t.version = n.version` : sql`t.id = n.id`;
    const { numAffectedRows } =
      await sql`update ${sql.table(table)} as t set root_key_id = ${target}, record = n.record
      from unnest(${ids}::text[], ${versions}::int[], ${oldIds}::text[], ${oldRecords}::bytea[], ${records}::bytea[])
        as n (id, version, old_id, old_record, record)
      where ${isSame} and t.root_key_id = n.old_id and t.record = n.old_record`.execute(tx);
    demandActive(ring, target);
    return Number(numAffectedRows ?? 0n);
  });
}
