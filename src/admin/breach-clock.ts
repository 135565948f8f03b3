import type { Store } from '../db/store.ts';

/** GDPR Art. 33: the authority is told within 72 hours of becoming aware. */
export const noticeMs = 72 * 3_600_000;

/** Breaches whose notice is not out. */
export interface BreachClock {
  readonly waiting: number;
  /** When the first of them is due; null where none waits. */
  readonly dueAt: Date | null;
}

export async function readBreachClock(store: Pick<Store, 'asSystem'>): Promise<BreachClock> {
  const row = await store.asSystem((tx) =>
    tx
      .selectFrom('breaches')
      .select((eb) => [eb.fn.countAll<bigint>().as('waiting'), eb.fn.min('discovered_at').as('first')])
      .where('closed_at', 'is', null)
      .where('notified_at', 'is', null)
      .executeTakeFirstOrThrow(),
  );
  const first = row.first as Date | null;
  return {
    waiting: Number(row.waiting),
    dueAt: first === null ? null : new Date(first.getTime() + noticeMs),
  };
}
