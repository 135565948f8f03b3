import type { Store } from '../db/store.ts';
import type { Journal } from '../journal/journal.ts';
import { type Difference, firstPlace, type ReprojectPlace, reprojectStep } from '../journal/reproject.ts';
import type { Caller } from './caller.ts';
import { invalid } from './moment.ts';
import { demandOperator } from './permissions.ts';

export interface Reprojected {
  /** For the request that goes on; null: all is done. */
  readonly cursor: string | null;
  readonly looked: number;
  /** What was not as the records say, and is now. */
  readonly differences: readonly Difference[];
}

export type Reproject = ReturnType<typeof createReproject>;

/** Of one request. */
const stretchMs = 1_000;

const date = /^\d{4}-\d{2}-01$/;
const time = /^\d{4}-\d{2}-\d{2}T[\d:.]{12}Z$/;

/** Makes the projections of the journal anew, a stretch a request: whoever asks comes again until it is done. For the operator alone. */
export function createReproject({
  store,
  journal,
  clock,
}: {
  readonly store: Pick<Store, 'asSystem'>;
  readonly journal: Pick<Journal, 'append'>;
  readonly clock: () => number;
}) {
  return Object.freeze({
    /** @throws {SallyportError} FORBIDDEN; REQUEST_INVALID; JOURNAL_UNAVAILABLE: nothing was begun. */
    async goOn(
      caller: Caller,
      {
        cursor = null,
        dryRun = false,
      }: { readonly cursor?: string | null | undefined; readonly dryRun?: boolean | undefined },
    ): Promise<Reprojected> {
      demandOperator(caller);
      let place: ReprojectPlace | null = cursor === null ? firstPlace : readCursor(cursor);
      const who = { workspaceId: caller.workspaceId, actor: { type: caller.type, id: caller.id } };
      if (cursor === null) await journal.append('journal.reproject', { ...who, isDry: dryRun });
      const until = performance.now() + stretchMs;
      const differences: Difference[] = [];
      let looked = 0;
      do {
        const step = await reprojectStep(store, place, new Date(clock()), dryRun);
        // What was mended is mended: the journal's refusal must not hide it from whoever asked.
        if (!dryRun && step.differences.length > 0)
          await journal
            .append('journal.reprojected', { ...who, mended: counts(step.differences) })
            .catch(() => undefined);
        differences.push(...step.differences);
        looked += step.looked;
        place = step.next;
      } while (place !== null && performance.now() < until);
      return { cursor: place === null ? null : cursorText(place), looked, differences };
    },
  });
}

/** Rows by what was wrong with them. */
function counts(differences: readonly Difference[]): Readonly<Record<string, number>> {
  const sums: Record<string, number> = {};
  for (const one of differences) {
    const name = 'what' in one ? `${one.table} ${one.what}` : one.table;
    sums[name] = (sums[name] ?? 0) + ('rows' in one ? one.rows : 1);
  }
  return sums;
}

function cursorText(place: ReprojectPlace): string {
  return Buffer.from(JSON.stringify(place)).toString('base64url');
}

/** @throws {SallyportError} REQUEST_INVALID */
function readCursor(cursor: string): ReprojectPlace {
  const flaw = invalid('/cursor', 'is none that a run was told to go on with');
  let place: Readonly<Record<string, unknown>>;
  try {
    place = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    throw flaw;
  }
  const text = (name: string, shape: RegExp): boolean => {
    const value = place[name];
    return (
      typeof value === 'string' &&
      shape.test(value) &&
      ((shape !== date && shape !== time) || !Number.isNaN(Date.parse(value)))
    );
  };
  const count = (name: string): boolean => Number.isSafeInteger(place[name]) && Number(place[name]) >= 0;
  const fits =
    typeof place === 'object' &&
    place !== null &&
    ((place['phase'] === 'records' &&
      text('month', date) &&
      text('stream', /^[\x21-\x7e]{0,200}$/) &&
      count('seq')) ||
      (place['phase'] === 'rows' &&
        text('month', date) &&
        text('callId', /^[\x21-\x7e]{0,200}$/) &&
        count('attempt') &&
        Number(place['attempt']) < 2 ** 31) ||
      (place['phase'] === 'sums' && text('from', time)) ||
      place['phase'] === 'uses');
  if (!fits) throw flaw;
  return place as unknown as ReprojectPlace;
}
