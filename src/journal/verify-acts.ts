import { sql } from 'kysely';
import type { Store } from '../db/store.ts';
import { parseRecord, type JournalRecord } from './chain.ts';
import type { Fault } from './cursor.ts';
import { idText } from './obligations.ts';

type System = Pick<Store, 'asSystem'>;

/** A `.done` has its row in `acts`, which the act's own transaction inserted; a `.failed` has none. */
export async function checkOutcomes(
  store: System,
  records: readonly JournalRecord[],
  report: (fault: Fault) => void,
): Promise<void> {
  const outcomes = records.filter(({ event }) => event.endsWith('.done') || event.endsWith('.failed'));
  if (outcomes.length === 0) return;
  const ids = outcomes.map((record) => idText(record['actId']));
  const rows = await store.asSystem((tx) =>
    tx.selectFrom('acts').select('act_id').where('act_id', 'in', ids).execute(),
  );
  const committed = new Set(rows.map((row) => row.act_id));
  for (const { actId, event, seq, stream } of outcomes) {
    const isCommitted = committed.has(idText(actId));
    if (isCommitted === event.endsWith('.done')) continue;
    const message = isCommitted
      ? `${event} of ${idText(actId)}, which was committed.`
      : `${event} of ${idText(actId)}, which acts has no row of.`;
    report({ stream, seq, kind: 'mismatch', message });
  }
}

/**
 * Every row of `acts` has its intent. By pages of 200 acts of a workspace; an intent is durable before its act begins, and a
 * day covers clocks that differ.
 *
 * @param unshipped acts whose intent is still in a file alone.
 */
export async function checkIntents(
  store: System,
  unshipped: ReadonlySet<string>,
  report: (fault: Fault) => void,
): Promise<void> {
  let after: { workspace_id: string; at: Date; act_id: string } = {
    workspace_id: '',
    at: new Date(0),
    act_id: '',
  };
  for (;;) {
    const { act_id, at, workspace_id } = after;
    const { rows } = await store.asSystem((tx) =>
      sql<typeof after>`select workspace_id, at, act_id from acts
        where (workspace_id, at, act_id) > (${workspace_id}, ${at}, ${act_id})
        order by workspace_id, at, act_id limit 200`.execute(tx),
    );
    const last = rows.at(-1);
    if (last === undefined) return;
    after = last;
    for (const workspaceId of new Set(rows.map((row) => row.workspace_id))) {
      const page = rows.filter((row) => row.workspace_id === workspaceId);
      const known = await intents(store, workspaceId, page[0]?.at ?? at, page.at(-1)?.at ?? at);
      for (const row of page) {
        if (known.has(row.act_id) || unshipped.has(row.act_id)) continue;
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
  return new Set(rows.map(({ line }) => idText(parseRecord(Buffer.from(line))?.['actId'])));
}
