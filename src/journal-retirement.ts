import type { Config } from './config.ts';
import type { Store } from './db/store.ts';
import { createCheckpointKeys } from './journal/checkpoint-keys.ts';
import { createRetirement, type RetirementDeps } from './journal/retirement.ts';
import { maxProblems, type Verdict } from './journal/verify.ts';
import type { Vault } from './vault/vault.ts';

/** What became of a month that is older than JOURNAL_RETENTION_MONTHS. */
export interface MonthOutcome {
  /** `YYYY-MM-01` */
  readonly month: string;
  readonly records: number;
  /**
   * `due`: it would go; `not-covered`: records of it are in no checkpoint; `late`: records lie in it that came when it was over;
   * `faulty`: `journal verify` finds something wrong with it.
   */
  readonly outcome: 'retired' | 'due' | 'not-covered' | 'late' | 'faulty';
}

/** What all months rest on. */
const common = new Set(['checkpoints', 'signing_keys', 'retired_months']);

/**
 * Drops the months that are older than JOURNAL_RETENTION_MONTHS, oldest first, each behind a signed stub; none that `journal verify` has
 * found something wrong with, for that would be gone with it. Nothing where the setting is not set.
 *
 * @param verdict of a moment ago.
 */
export async function retireMonths(
  { journalRetentionMonths }: Pick<Config, 'journalRetentionMonths'>,
  deps: {
    readonly store: Pick<Store, 'asSystem'>;
    readonly vault: Vault;
    readonly record: RetirementDeps['record'];
    readonly clock: () => number;
  },
  { verdict, isDryRun = false }: { readonly verdict: Pick<Verdict, 'problems'>; readonly isDryRun?: boolean },
): Promise<readonly MonthOutcome[]> {
  if (journalRetentionMonths === null) return [];
  const { clock, record, store, vault } = deps;
  const keys = createCheckpointKeys(vault, clock);
  const retirement = createRetirement({ store, keys, record, clock, keepMonths: journalRetentionMonths });
  const faulty = new Set(verdict.problems.map(({ stream }) => stream));
  // A list that is full may leave out what matters here.
  const isShaken = verdict.problems.length >= maxProblems || [...faulty].some((stream) => common.has(stream));
  const months: MonthOutcome[] = [];
  for (const { month, obstacle, records, streams } of await retirement.old()) {
    const isFaulty = isShaken || streams.some((stream) => faulty.has(stream));
    const outcome = isFaulty ? 'faulty' : (obstacle ?? (isDryRun ? 'due' : 'retired'));
    if (outcome === 'retired') await retirement.retire(month);
    months.push({ month, records, outcome });
  }
  return months;
}
