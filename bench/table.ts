/** The first row is its head, the first column its rows' names. */
export type Table = readonly (readonly string[])[];

export function textOf(table: Table): string {
  const widths = (table[0] ?? []).map((_, i) => Math.max(...table.map((row) => row[i]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join('  ')
      .trimEnd();
  return table.map((row) => `  ${line(row)}\n`).join('');
}

export function markdownOf(table: Table): string {
  const [head = [], ...rows] = table;
  const rule = head.map((_, i) => (i === 0 ? '---' : '--:'));
  return [head, rule, ...rows].map((row) => `| ${row.join(' | ')} |\n`).join('');
}
