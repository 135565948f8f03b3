import { invalid, readMoment } from './moment.ts';

/** A span of time, `from` within and `to` without. */
export interface Period {
  readonly from: Date;
  readonly to: Date;
  /** Sums by hour tell the same as the single events: both ends stand on an hour, or nothing lies behind the end. */
  readonly isByHour: boolean;
}

const hourMs = 3_600_000;
const usualMs = 30 * 24 * hourMs;

/** What a report covers: the last 30 days unless told. @throws {SallyportError} REQUEST_INVALID */
export function readPeriod(
  input: { readonly from?: string | undefined; readonly to?: string | undefined },
  now: number,
): Period {
  const to = input.to === undefined ? new Date(now) : readMoment('/to', input.to);
  const from =
    input.from === undefined
      ? new Date(Math.floor((to.getTime() - usualMs) / hourMs) * hourMs)
      : readMoment('/from', input.from);
  if (from > to) throw invalid('/from', 'has to be before to');
  const isOnHour = (moment: Date): boolean => moment.getTime() % hourMs === 0;
  // An hour that has not ended is summed whole, and that is right: nothing has happened after now.
  return { from, to, isByHour: isOnHour(from) && (isOnHour(to) || to.getTime() >= now) };
}
