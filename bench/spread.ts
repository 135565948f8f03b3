/** Over the rounds. */
export interface Spread {
  readonly median: number;
  readonly lowest: number;
  readonly highest: number;
}

/** Null of nothing but nulls. */
export function spreadOf(values: readonly (number | null)[]): Spread | null {
  const sorted = values.filter((value) => value !== null).toSorted((a, b) => a - b);
  const [lowest] = sorted;
  const highest = sorted.at(-1);
  if (lowest === undefined || highest === undefined) return null;
  const middle = (sorted.length - 1) / 2;
  const median = ((sorted[Math.floor(middle)] ?? 0) + (sorted[Math.ceil(middle)] ?? 0)) / 2;
  return { median, lowest, highest };
}

/** `median (lowest–highest)`. */
export function spreadText(spread: Spread | null, digits = 2): string {
  if (spread === null) return '–';
  const [median, lowest, highest] = [spread.median, spread.lowest, spread.highest].map((one) =>
    one.toFixed(digits),
  );
  return `${median} (${lowest}–${highest})`;
}

/** A figure by round; null: not measured in it. */
export type Series = ReadonlyMap<number, number | null>;

/**
 * One figure as a multiple of another. Each ratio is of one round, in which both were measured within seconds of each other: a machine
 * that grows slower between rounds moves both. Too few calls for the clock, or a base that came out faster than nothing, make no ratio.
 */
export function ratioOf(figures: Series, base: Series): Spread | null {
  return spreadOf(
    [...figures].map(([round, value]) => {
      const under = base.get(round) ?? null;
      return value === null || under === null || under <= 0 ? null : value / under;
    }),
  );
}
