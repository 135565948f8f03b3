import { type CoveredStream, readStreamLine, streamLine } from './checkpoint-note.ts';
import type { Note } from './note.ts';

/** What is left of a month of the journal that was dropped: which records went, and the hash of the last of each stretch. */
export interface RetiredMonth {
  /** From 1; each names the one before by its hash. */
  readonly number: number;
  /** `YYYY-MM-01` */
  readonly month: string;
  readonly records: number;
  /** Rows of `usage_events` that went with it. */
  readonly usageRows: number;
  /** RFC 3339, UTC, ms. */
  readonly at: string;
  /** Hex SHA-256 of the text of the stub before; 64 zeros in the first. */
  readonly previous: string;
  /** Sorted by stream and number; a stream whose records lie in several months by turns has several stretches. */
  readonly streams: readonly CoveredStream[];
}

/**
 * What no checkpoint covers by then came later than the month: records are in the month in which they were shipped, and covered within
 * a minute. A week for a gateway whose vault is sealed or whose clock is off.
 */
export function latestOf(month: string): Date {
  const first = new Date(month);
  return new Date(Date.UTC(first.getUTCFullYear(), first.getUTCMonth() + 1, 8));
}

export function retiredText(name: string, retired: RetiredMonth): string {
  const { at, month, number, previous, records, streams, usageRows } = retired;
  const lines = [
    `${name}/retired/${number}`,
    `month ${month}`,
    `records ${records}`,
    `usage ${usageRows}`,
    `at ${at}`,
    `previous ${previous}`,
    ...streams.map(streamLine),
  ];
  return `${lines.join('\n')}\n`;
}

const whole = '(0|[1-9]\\d{0,15})';
const shape = new RegExp(
  `^(\\S{1,200})/retired/${whole}\\nmonth (\\d{4}-\\d{2}-01)\\nrecords ${whole}\\nusage ${whole}\\nat (\\S{24})\\nprevious ([0-9a-f]{64})\\n((?:stream .*\\n)*)$`,
);

/** Null: it states something else, or not in these words. */
export function readRetired({ text }: Pick<Note, 'text'>): (RetiredMonth & { readonly name: string }) | null {
  const [, name, number, month = '', records, usageRows, at = '', previous = '', rest = ''] =
    shape.exec(text) ?? [];
  if (name === undefined) return null;
  const streams = rest.split('\n').slice(0, -1).map(readStreamLine);
  const found = streams.filter((one) => one !== null);
  const retired = {
    number: Number(number),
    month,
    records: Number(records),
    usageRows: Number(usageRows),
    at,
    previous,
    streams: found,
  };
  const sum = found.reduce((all, { firstSeq, nextSeq }) => all + nextSeq - firstSeq, 0);
  const isSound =
    found.length === streams.length && sum === retired.records && retiredText(name, retired) === text;
  return isSound ? { name, ...retired } : null;
}
