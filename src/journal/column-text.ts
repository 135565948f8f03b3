import { createBatch } from './batch.ts';

/** A value of a column; a number or boolean is written as it is. */
export type ColumnValue = string | number | boolean | bigint | null;

/** One column of many rows as a PostgreSQL array. */
export interface ColumnText {
  add(value: ColumnValue): void;
  /** In UTF-8, for a parameter that is cast by way of `text`. Nothing is added behind it; gone with the next `clear`. */
  bytes(): Buffer;
  clear(): void;
}

/** What the array's syntax needs no quotes around: ids, times, numbers, digests. NULL, however it is written, would be none. */
const plain = /^(?!null$)[\w:.+-]+$/i;
const special = /["\\]/g;

/**
 * The driver does the same for an array of ours, at four times the cost: it looks at each value twice for what it is and quotes each.
 *
 * Most columns hold one value for many rows on end: these are counted, and written when another value comes.
 */
export function createColumnText(): ColumnText {
  const batch = createBatch(1024);
  let last: ColumnValue = null;
  let lastText = ',NULL';
  let count = 0;

  function put(text: string): void {
    // A UTF-16 code unit is at most three bytes of UTF-8.
    batch.add(batch.room(text.length * 3).write(text, batch.length(), 'utf8'));
  }

  function flush(): void {
    if (count === 0) return;
    put(count === 1 ? lastText : lastText.repeat(count));
    count = 0;
  }
  return Object.freeze({
    add(value: ColumnValue) {
      if (value !== last) {
        flush();
        last = value;
        lastText = `,${written(value)}`;
      }
      count += 1;
    },
    bytes() {
      flush();
      if (batch.length() === 0) put('{');
      put('}');
      const all = batch.bytes();
      // In place of the first comma.
      all[0] = 0x7b;
      return all;
    },
    clear() {
      batch.clear();
      count = 0;
    },
  });
}

function written(value: ColumnValue): string {
  if (value === null) return 'NULL';
  if (typeof value !== 'string') return String(value);
  return plain.test(value) ? value : `"${value.replaceAll(special, '\\$&')}"`;
}
