import { sql } from 'kysely';
import type { Store } from '../db/store.ts';
import { parseRecordText } from './chain.ts';
import type { Fault } from './cursor.ts';
import { idText } from './obligations.ts';
import type { Pair } from './verify-duties.ts';

type System = Pick<Store, 'asSystem'>;

/**
 * A `.done` has its row in `acts`, which the act's own transaction inserted and which names the hash of the intent; a `.failed` has none.
 *
 * @returns how many rows stand behind these outcomes.
 */
export async function checkOutcomes(
  store: System,
  pairs: readonly Pair[],
  report: (fault: Fault) => void,
): Promise<number> {
  if (pairs.length === 0) return 0;
  const ids = pairs.map(({ closer }) => idText(closer['actId']));
  const rows = await store.asSystem((tx) =>
    tx.selectFrom('acts').select(['act_id', 'digest']).where('act_id', 'in', ids).execute(),
  );
  const committed = new Map(rows.map(({ act_id, digest }) => [act_id, digest.toString('hex')]));
  for (const { closer, opener } of pairs) {
    const { actId, event, seq, stream } = closer;
    const digest = committed.get(idText(actId));
    const isDone = event.endsWith('.done');
    if (isDone && digest !== undefined && digest !== opener.hash) {
      const message = `acts names another intent of ${idText(actId)}.`;
      report({ stream: opener.stream, seq: opener.seq, kind: 'mismatch', message });
    }
    if ((digest !== undefined) === isDone) continue;
    const message = isDone
      ? `${event} of ${idText(actId)}, which acts has no row of.`
      : `${event} of ${idText(actId)}, which was committed.`;
    report({ stream, seq, kind: 'mismatch', message });
  }
  return committed.size;
}

/** Rows of `acts` from a moment on; null: all. */
export async function countActs(store: System, since: Date | null): Promise<number> {
  const { rows } = await store.asSystem((tx) =>
    sql<{ count: bigint }>`select count(*) from acts where at >= ${since ?? new Date(0)}`.execute(tx),
  );
  return Number(rows[0]?.count ?? 0);
}

/**
 * Every row of `acts` has its intent. By pages of 200 acts of a workspace; an intent is durable before its act begins, and a
 * day covers clocks that differ. What is not found there is looked for everywhere.
 *
 * @param unshipped acts whose intent is still in a file alone.
 */
export async function checkIntents(
  store: System,
  unshipped: ReadonlySet<string>,
  since: Date | null,
  report: (fault: Fault) => void,
): Promise<void> {
  let after: { workspace_id: string; at: Date; act_id: string; digest: Buffer } = {
    workspace_id: '',
    at: new Date(0),
    act_id: '',
    digest: Buffer.alloc(0),
  };
  for (;;) {
    const { act_id, at, workspace_id } = after;
    const { rows } = await store.asSystem((tx) =>
      sql<typeof after>`select workspace_id, at, act_id, digest from acts
        where (workspace_id, at, act_id) > (${workspace_id}, ${at}, ${act_id}) and at >= ${since ?? new Date(0)}
        order by workspace_id, at, act_id limit 200`.execute(tx),
    );
    const last = rows.at(-1);
    if (last === undefined) return;
    after = last;
    for (const workspaceId of new Set(rows.map((row) => row.workspace_id))) {
      const page = rows.filter((row) => row.workspace_id === workspaceId);
      const near = await intents(store, workspaceId, page[0]?.at ?? at, page.at(-1)?.at ?? at);
      const missing = page.filter((row) => !near.has(row.act_id) && !unshipped.has(row.act_id));
      const far = await intentsOf(store, missing);
      for (const row of missing) {
        if (far.has(row.act_id)) continue;
        report({
          stream: 'acts',
          seq: 0,
          kind: 'missing',
          message: `${row.act_id} was committed without an intent in the journal.`,
        });
      }
    }
  }
}

async function intents(
  store: System,
  workspaceId: string,
  from: Date,
  to: Date,
): Promise<ReadonlySet<string>> {
  const { rows } = await store.asSystem((tx) =>
    sql<{ line: string }>`select line from journal
      where workspace_id = ${workspaceId} and event like '%.intent'
        and at between ${from}::timestamptz - interval '1 day' and ${to}::timestamptz + interval '1 day'`.execute(
      tx,
    ),
  );
  return actIds(rows);
}

/** By the hash that the act was committed with: without an index, and for few. */
async function intentsOf(
  store: System,
  acts: readonly { readonly digest: Buffer }[],
): Promise<ReadonlySet<string>> {
  if (acts.length === 0) return new Set();
  const digests = acts.map(({ digest }) => digest);
  const { rows } = await store.asSystem((tx) =>
    sql<{ line: string }>`select line from journal
      where event like '%.intent' and hash = any(${digests}::bytea[])`.execute(tx),
  );
  return actIds(rows);
}

function actIds(rows: readonly { readonly line: string }[]): ReadonlySet<string> {
  return new Set(rows.map(({ line }) => idText(parseRecordText(line)?.['actId'])));
}
