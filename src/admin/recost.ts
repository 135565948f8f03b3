import { createHash } from 'node:crypto';
import { type Selectable, sql } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Store } from '../db/store.ts';
import type { Journal } from '../journal/journal.ts';
import { parseRecordText } from '../journal/chain.ts';
import { idText } from '../journal/obligations.ts';
import type { PriceBook } from '../providers/price.ts';
import { ownPrice, type PriceOverride } from '../providers/price-override.ts';
import { priceMacFields } from '../vault/row-macs.ts';
import type { Vault } from '../vault/vault.ts';
import type { Caller } from './caller.ts';
import { invalid, iso, readMoment } from './moment.ts';
import { cursorOf, placeOf } from './paging.ts';
import { demandOperator } from './permissions.ts';
import { recordedAttempt } from './recorded-attempt.ts';

export interface RecostInput {
  readonly from: string;
  readonly to?: string | undefined;
  readonly dryRun?: boolean | undefined;
  readonly cursor?: string | undefined;
}

export interface Recosted {
  /** For the request that goes on; null: all is done. */
  readonly cursor: string | null;
  /** Attempts of the period that were looked at. */
  readonly looked: number;
  /** Of these the ones with a cost by present prices, and the sums of both, where both are known. */
  readonly priced: number;
  readonly newlyPriced: number;
  readonly recordedNanoUsd: string;
  readonly computedNanoUsd: string;
  readonly differenceNanoUsd: string;
  /** What was reckoned with, a workspace each at most. */
  readonly versions: readonly string[];
}

export type Recost = ReturnType<typeof createRecost>;

const pageRows = 500;

interface Row {
  readonly workspace_id: string;
  readonly call_id: string;
  readonly attempt: number;
  readonly month: string;
  readonly started_at: Date;
  readonly cost_nano_usd: bigint | null;
}

interface Own {
  readonly version: string;
  readonly overrides: readonly PriceOverride[];
  /** Custom providers by the ids of their keys. */
  readonly names: ReadonlyMap<string, string>;
}

/** Reckons what attempts cost by the prices of today, beside what was recorded, which nothing changes. For the operator alone. */
export function createRecost({
  store,
  journal,
  vault,
  book,
  clock,
}: {
  readonly store: Pick<Store, 'asSystem'>;
  readonly journal: Pick<Journal, 'append'>;
  readonly vault: Pick<Vault, 'checkRowMac'>;
  readonly book: PriceBook;
  readonly clock: () => number;
}) {
  return Object.freeze({
    /** One page of the period. @throws {SallyportError} FORBIDDEN; REQUEST_INVALID; JOURNAL_UNAVAILABLE: nothing was begun. */
    async goOn(caller: Caller, input: RecostInput): Promise<Recosted> {
      demandOperator(caller);
      const { dryRun = false } = input;
      const from = readMoment('/from', input.from);
      const to = input.to === undefined ? new Date(clock()) : readMoment('/to', input.to);
      if (from > to) throw invalid('/from', 'has to be before to');
      const after = placeOf(input, [/^\d{4}-\d{2}-01$/, /^call_[0-9a-f]{32}$/, /^\d{1,4}$/]);
      if (after === null) {
        await journal.append('usage.recost', {
          workspaceId: caller.workspaceId,
          actor: { type: caller.type, id: caller.id },
          from: iso(from),
          to: iso(to),
          version: book.version,
          isDry: dryRun,
        });
      }
      const rows = await readRows(from, to, after);
      const costs = await reckon(rows);
      if (!dryRun) await keep(costs);
      return told(rows, costs);
    },
  });

  async function readRows(
    from: Date,
    to: Date,
    after: readonly [string, string, string] | null,
  ): Promise<Row[]> {
    const [month, callId, attempt] = after ?? ['0001-01-01', '', '0'];
    const { rows } = await store.asSystem((tx) =>
      sql<Row>`select workspace_id, call_id, attempt, month, started_at, cost_nano_usd from usage_events
        where (month, call_id, attempt) > (${month}::date, ${callId}, ${Number(attempt)}::integer)
          and month >= date_trunc('month', ${from}::timestamptz, 'UTC')::timestamp::date - 1
          and started_at >= ${from} and started_at < ${to}
        order by month, call_id, attempt limit ${pageRows}`.execute(tx),
    );
    return rows;
  }

  async function reckon(rows: readonly Row[]) {
    const callIds = [...new Set(rows.map((row) => row.call_id))];
    const { rows: lines } = await store.asSystem((tx) =>
      sql<{ line: string }>`select line from journal where call_id = any(${callIds}::text[])
        and event in ('use.begin', 'use.end') order by month, stream, seq`.execute(tx),
    );
    const begins = new Map<string, NonNullable<ReturnType<typeof parseRecordText>>>();
    const ends = new Map<string, NonNullable<ReturnType<typeof parseRecordText>>>();
    for (const { line } of lines) {
      const record = parseRecordText(line);
      if (record === null) continue;
      const side = record.event === 'use.begin' ? begins : ends;
      const key = `${idText(record['callId'])}#${idText(record['attempt'])}`;
      // Of two ends the first has the row.
      if (!side.has(key)) side.set(key, record);
    }
    const owns = new Map<string, Own>();
    const costs: { row: Row; version: string; nanoUsd: bigint; priceVersion: string | null }[] = [];
    for (const row of rows) {
      const key = `${row.call_id}#${row.attempt}`;
      const [begin, end] = [begins.get(key), ends.get(key)];
      if (begin === undefined || end === undefined || end['workspaceId'] !== row.workspace_id) continue;
      const own = owns.get(row.workspace_id) ?? (await readOwn(row.workspace_id));
      owns.set(row.workspace_id, own);
      const cost = recordedAttempt(book, own.overrides, own.names, begin, end);
      if (cost?.nanoUsd == null) continue;
      costs.push({ row, version: own.version, nanoUsd: cost.nanoUsd, priceVersion: cost.version });
    }
    return costs;
  }

  /** The workspace's prices as they stand now. A row that was written round us prices nothing. */
  async function readOwn(workspaceId: string): Promise<Own> {
    const { prices, customs } = await store.asSystem(async (tx) => ({
      prices: await tx
        .selectFrom('price_overrides')
        .selectAll()
        .where('workspace_id', '=', workspaceId)
        .orderBy('id')
        .execute(),
      customs: await tx
        .selectFrom('provider_keys')
        .select(['id', 'name'])
        .where('workspace_id', '=', workspaceId)
        .where('provider', '=', 'custom')
        .execute(),
    }));
    const genuine: Selectable<Schema['price_overrides']>[] = [];
    for (const row of prices)
      if (await vault.checkRowMac(workspaceId, 'price_overrides', priceMacFields(row), row.mac))
        genuine.push(row);
    const ids = genuine.map(({ id }) => id).join(' ');
    const digest = createHash('sha256').update(ids).digest('hex').slice(0, 8);
    return {
      version: genuine.length === 0 ? book.version : `${book.version}+own-${digest}`,
      overrides: genuine.map((row) => ({
        provider: row.provider,
        model: row.model,
        effectiveFrom: row.effective_from.getTime(),
        price: ownPrice(JSON.parse(row.prices) as Readonly<Record<string, string>>, row.id),
      })),
      names: new Map(customs.map(({ id, name }) => [id, name])),
    };
  }

  /**
   * Beside what is there. What was last reckoned with these same prices is there already; where others came in between, these get a name
   * with the time behind it.
   */
  async function keep(costs: Awaited<ReturnType<typeof reckon>>): Promise<void> {
    if (costs.length === 0) return;
    const computedAt = new Date(clock());
    await store.asSystem(async (tx) => {
      const callIds = costs.map(({ row }) => row.call_id);
      const { rows: kept } = await sql<{ call_id: string; attempt: number; versions: string[] }>`
        select call_id, attempt, array_agg(version order by computed_at desc, version desc) as versions from usage_costs
        where workspace_id = any(${costs.map(({ row }) => row.workspace_id)}::text[]) and call_id = any(${callIds}::text[])
        group by 1, 2`.execute(tx);
      const known = new Map(kept.map((one) => [`${one.call_id}#${one.attempt}`, one.versions]));
      const values = costs.flatMap(({ row, version, nanoUsd, priceVersion }) => {
        const [latest = '', ...others] = known.get(`${row.call_id}#${row.attempt}`) ?? [];
        if (latest.split('@')[0] === version) return [];
        return [
          {
            workspace_id: row.workspace_id,
            call_id: row.call_id,
            attempt: row.attempt,
            version: others.includes(version) ? `${version}@${iso(computedAt)}` : version,
            started_at: row.started_at,
            cost_nano_usd: nanoUsd,
            price_version: priceVersion,
            computed_at: computedAt,
          },
        ];
      });
      if (values.length === 0) return;
      await tx
        .insertInto('usage_costs')
        .values(values)
        .onConflict((oc) => oc.doNothing())
        .execute();
    });
  }
}

function told(
  rows: readonly Row[],
  costs: readonly { row: Row; version: string; nanoUsd: bigint }[],
): Recosted {
  const both = costs.filter(({ row }) => row.cost_nano_usd !== null);
  const recorded = both.reduce((sum, { row }) => sum + (row.cost_nano_usd ?? 0n), 0n);
  const computed = both.reduce((sum, { nanoUsd }) => sum + nanoUsd, 0n);
  const last = rows.length < pageRows ? undefined : rows.at(-1);
  return {
    cursor: last === undefined ? null : cursorOf([last.month, last.call_id, String(last.attempt)]),
    looked: rows.length,
    priced: costs.length,
    newlyPriced: costs.length - both.length,
    recordedNanoUsd: String(recorded),
    computedNanoUsd: String(computed),
    differenceNanoUsd: String(computed - recorded),
    versions: [...new Set(costs.map(({ version }) => version))].toSorted(),
  };
}
