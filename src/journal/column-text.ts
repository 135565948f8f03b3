/** A value of a column; a number or boolean is written as it is. */
export type ColumnValue = string | number | boolean | bigint | null;

/** One column of many rows as a PostgreSQL array. */
export interface ColumnText {
  add(value: ColumnValue): void;
  /** Nothing is added behind it. */
  text(): string;
}

/** What the array's syntax needs no quotes around: ids, times, numbers, digests. NULL, however it is written, would be none. */
const plain = /^(?!null$)[\w:.+-]+$/i;
const special = /["\\]/g;

/**
 * The driver does the same for an array of ours, at four times the cost: it looks at each value twice for what it is and quotes each.
 *
 * Most columns hold one value for many rows on end: these are counted, and written when another value comes. A piece of text for each of
 * 43 columns of each record, kept until the shipment is full, was most of what the collector had to do.
 */
export function createColumnText(): ColumnText {
  let text = '';
  let isBegun = false;
  let last: ColumnValue = null;
  let lastText = ',NULL';
  let count = 0;

  function flush(): void {
    if (count === 0) return;
    text += count === 1 ? lastText : lastText.repeat(count);
    count = 0;
  }
  return Object.freeze({
    add(value: ColumnValue) {
      isBegun = true;
      if (value !== last) {
        flush();
        last = value;
        lastText = `,${written(value)}`;
      }
      count += 1;
    },
    text() {
      flush();
      return isBegun ? `{${text.slice(1)}}` : '{}';
    },
  });
}

function written(value: ColumnValue): string {
  if (value === null) return 'NULL';
  if (typeof value !== 'string') return String(value);
  return plain.test(value) ? value : `"${value.replaceAll(special, '\\$&')}"`;
}
