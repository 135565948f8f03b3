import { sql } from 'kysely';
import type { Tx } from '../db/store.ts';
import { genesisHash } from './chain.ts';
import { sumLimit } from './hourly-rows.ts';
import { createHourlySums, monthOf } from './projection.ts';
import { type ShippedUsage, type Shipment, usageRowsOf } from './shipment.ts';
import { hourlyColumns, hourlyTypes, names, summed, unnest, usageTypes } from './usage-columns.ts';

/** How far a stream is in the database: the next record wanted and the hash of the one before it. */
export interface Position {
  readonly nextSeq: number;
  readonly headHash: string;
}

const start: Position = Object.freeze({ nextSeq: 0, headHash: genesisHash });

/** Without a lock: where to begin reading. */
export async function readPosition(tx: Tx, stream: string): Promise<Position> {
  const row = await tx
    .selectFrom('journal_streams')
    .select(['next_seq', 'head_hash'])
    .where('stream', '=', stream)
    .executeTakeFirst();
  return row === undefined
    ? start
    : { nextSeq: Number(row.next_seq), headHash: row.head_hash.toString('hex') };
}

/**
 * Inserts a shipment: lines, usage rows, hourly sums and the stream's new position, in the caller's transaction. The position is
 * locked first and must be `from`, else nothing is inserted: this is what makes shipping exactly once, however many ship and whatever
 * became of an earlier COMMIT.
 *
 * @returns the position now; where it isn't the end of the shipment, somebody else was here.
 */
export async function shipBatch(tx: Tx, from: Position, shipment: Shipment, now: string): Promise<Position> {
  const { firstSeq, isClosed, next, stream } = shipment;
  if (firstSeq !== from.nextSeq)
    throw new RangeError(`record ${firstSeq} does not follow ${from.nextSeq - 1}`);
  const found = await lockPosition(tx, stream);
  if (found.nextSeq !== from.nextSeq || found.headHash !== from.headHash) return found;
  await insertLines(tx, shipment, now);
  if (shipment.usage !== null) await insertUsage(tx, shipment, shipment.usage);
  await tx
    .updateTable('journal_streams')
    .set({
      next_seq: BigInt(next.nextSeq),
      head_hash: Buffer.from(next.headHash, 'hex'),
      closed: isClosed,
      updated_at: new Date(now),
    })
    .where('stream', '=', stream)
    .execute();
  return next;
}

async function lockPosition(tx: Tx, stream: string): Promise<Position> {
  const lock = () =>
    tx
      .selectFrom('journal_streams')
      .select(['next_seq', 'head_hash'])
      .where('stream', '=', stream)
      .forUpdate()
      .executeTakeFirst();
  let row = await lock();
  if (row === undefined) {
    await sql`insert into journal_streams (stream, next_seq, head_hash, closed)
      values (${stream}, 0, ${Buffer.alloc(32)}, false) on conflict do nothing`.execute(tx);
    row = await lock();
  }
  if (row === undefined) throw new Error(`journal_streams does not keep a row of ${stream}`);
  return { nextSeq: Number(row.next_seq), headHash: row.head_hash.toString('hex') };
}

/** Lines hold no newline, so that one text takes them as they are; everything else about a record is a column of its own. */
async function insertLines(
  tx: Tx,
  { columns, firstSeq, lines, stream }: Shipment,
  now: string,
): Promise<void> {
  await sql`insert into journal (month, stream, seq, workspace_id, at, event, call_id, key_id, token_id, user_id, hash, line)
    select ${monthOf(now)}::date, ${stream}, ${firstSeq - 1}::bigint + number, workspace_id, coalesce(at, ${now}::timestamptz), event, call_id,
      key_id, token_id, user_id, decode(hash, 'hex'), line
    from unnest(
      ${columns.workspaceId}::text::text[], ${columns.at}::text::timestamptz[], ${columns.event}::text::text[], ${columns.callId}::text::text[],
      ${columns.keyId}::text::text[], ${columns.tokenId}::text::text[], ${columns.userId}::text::text[], ${columns.hash}::text::text[],
      string_to_array(${lines}::text, chr(10))
    ) with ordinality as shipped (workspace_id, at, event, call_id, key_id, token_id, user_id, hash, line, number)`.execute(
    tx,
  );
}

/** An attempt has one row: a second end of it (`verify` names it) changes neither row nor sums. */
async function insertUsage(
  tx: Tx,
  shipment: Shipment,
  { hourly, count, columns }: ShippedUsage,
): Promise<void> {
  const inserted = await sql<{ added: bigint; attempts: string[] | null }>`
    with added as (
      insert into usage_events (${names(usageTypes)}) select * from ${unnest(usageTypes, columns)}
      on conflict do nothing returning call_id, attempt)
    select count(*) as added,
      case when count(*) < ${count} then array_agg(call_id || '#' || attempt) end as attempts from added`.execute(
    tx,
  );
  const { added = 0n, attempts = null } = inserted.rows[0] ?? {};
  if (added === 0n) return;
  const sums = attempts === null ? hourly : sumsOf(shipment, attempts);
  await sql`insert into usage_hourly as sums (${names(hourlyTypes)}) select * from ${unnest(hourlyTypes, sums)}
    on conflict (workspace_id, hour, token_id, user_id, key_id, provider, model)
    do update set ${sql.join(summed.map((name) => sql`${sql.ref(name)} = least(sums.${sql.ref(name)}::numeric + excluded.${sql.ref(name)}, ${sumLimit})::bigint`))}`.execute(
    tx,
  );
}

function sumsOf(shipment: Shipment, attempts: readonly string[]): ShippedUsage['hourly'] {
  const rows = usageRowsOf(shipment);
  const sums = createHourlySums();
  for (const attempt of attempts) {
    const row = rows.get(attempt);
    if (row !== undefined) sums.add(row);
  }
  return hourlyColumns(sums.increments());
}
