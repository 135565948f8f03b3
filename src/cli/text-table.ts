import { stripVTControlCharacters } from 'node:util';

export type Cell = string | number | null;

/**
 * Columns under their heads, two blanks apart; numbers to the right, null as `–`. Text of strangers (names, descriptions) cannot
 * move the cursor or colour what follows: control characters are shown as `·`.
 */
export function textTable(heads: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const cells = rows.map((row) => row.map(show));
  const widths = heads.map((head, i) => Math.max(head.length, ...cells.map((row) => row[i]?.length ?? 0)));
  const line = (texts: readonly string[], source: readonly Cell[]) =>
    texts
      .map((text, i) =>
        typeof source[i] === 'number' ? text.padStart(widths[i] ?? 0) : text.padEnd(widths[i] ?? 0),
      )
      .join('  ')
      .trimEnd();
  const sample = rows[0] ?? [];
  return `${[line([...heads], sample), ...cells.map((row, i) => line(row, rows[i] ?? []))].join('\n')}\n`;
}

/** One thing's fields, a line each under one another. */
export function fieldList(fields: Readonly<Record<string, Cell>>): string {
  const width = Math.max(...Object.keys(fields).map((name) => name.length));
  return Object.entries(fields)
    .map(([name, value]) => `${name.padEnd(width)}  ${show(value)}\n`)
    .join('');
}

function show(cell: Cell): string {
  if (cell === null) return '–';
  return typeof cell === 'number' ? cell.toLocaleString('en-US') : printable(cell);
}

export function printable(text: string): string {
  return stripVTControlCharacters(text).replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '·');
}
