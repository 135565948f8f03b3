import { type RawBuilder, sql } from 'kysely';
import type { Store } from '../db/store.ts';
import { type AuditFilter, auditConditions } from './audit-filter.ts';
import { auditColumns, type AuditEntry, type AuditRow, viewRecord } from './audit-view.ts';
import type { Caller } from './caller.ts';
import type { Export, ExportFormat, Exports } from './exports.ts';
import { iso } from './moment.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';
import { demand } from './permissions.ts';
import { visibleRecords } from './use-visibility.ts';

export type Audit = ReturnType<typeof createAudit>;

type Place = readonly [at: string, stream: string, seq: string];

const placeShape = [/^\d{4}-\d{2}-\d{2}T[\d:]{8}\.\d{3}Z$/, /^[\x21-\x7e]{1,200}$/, /^\d{1,18}$/] as const;
/** A record has 256 KiB at most, and a kilobyte as a rule. */
const exportRows = 250;

/** The journal, as far as it has reached the database: a workspace's records for its owners and auditors, else what concerns the caller's user. */
export function createAudit({
  store,
  exports,
}: {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly exports: Exports;
}) {
  function read(
    caller: Caller,
    conditions: readonly RawBuilder<boolean>[],
    after: Place | null,
    limit: number,
  ): Promise<AuditRow[]> {
    return store.asWorkspace(caller.workspaceId, (tx) => {
      let query = tx
        .selectFrom('journal')
        .select(auditColumns)
        .where(visibleRecords(caller))
        .orderBy('at', 'desc')
        .orderBy('stream', 'desc')
        .orderBy('seq', 'desc')
        .limit(limit);
      for (const condition of conditions) query = query.where(condition);
      if (after !== null) {
        const [at, stream, seq] = after;
        query = query.where(sql<boolean>`(at, stream, seq) < (${new Date(at)}, ${stream}, ${BigInt(seq)})`);
      }
      return query.execute();
    });
  }

  async function* pages(
    caller: Caller,
    conditions: readonly RawBuilder<boolean>[],
  ): AsyncGenerator<readonly AuditEntry[], void> {
    let after: Place | null = null;
    for (;;) {
      const rows = await read(caller, conditions, after, exportRows);
      const last = rows.at(-1);
      if (last === undefined) return;
      yield rows.map(viewRecord);
      if (rows.length < exportRows) return;
      after = placeOfRow(last);
    }
  }

  return Object.freeze({
    async list(caller: Caller, filter: AuditFilter & Page): Promise<List<AuditEntry>> {
      demand(caller, 'audit:read');
      const after = placeOf(filter, placeShape);
      const rows = await read(caller, auditConditions(filter), after, rowsToRead(filter));
      return toList(rows, filter, placeOfRow, viewRecord);
    },

    /** All that a filter finds, newest first, page by page: no transaction waits for a slow reader. */
    export(caller: Caller, filter: AuditFilter, format: ExportFormat): Promise<Export<AuditEntry>> {
      demand(caller, 'audit:read');
      const conditions = auditConditions(filter);
      return exports.open(caller, 'audit', format, { ...filter }, () => pages(caller, conditions));
    },

    /** The same without a filter and without a record, as a part of another export. */
    pages: (caller: Caller) => pages(caller, []),
  });
}

function placeOfRow(row: AuditRow): Place {
  return [iso(row.at), row.stream, String(row.seq)];
}
