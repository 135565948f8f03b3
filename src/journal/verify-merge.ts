interface Numbered {
  readonly seq: number;
}

/**
 * Several sources, each in the order of `seq`, as one. Stretches are handed on whole as long as no other source has something in between,
 * which is nearly always.
 */
export async function* mergeBySeq<T extends Numbered>(
  sources: readonly AsyncGenerator<readonly T[]>[],
): AsyncGenerator<readonly T[]> {
  const open: { rows: readonly T[]; at: number; readonly source: AsyncGenerator<readonly T[]> }[] = [];
  try {
    const first = await Promise.all(sources.map((source) => source.next()));
    for (const [i, { done, value }] of first.entries())
      if (done !== true && value.length > 0)
        open.push({ rows: value, at: 0, source: sources[i] as AsyncGenerator<readonly T[]> });
    while (open.length > 0) {
      const [lowest, second] = open.toSorted((a, b) => headOf(a) - headOf(b)) as [
        (typeof open)[0],
        (typeof open)[0] | undefined,
      ];
      const bound = second === undefined ? Infinity : headOf(second);
      let end = lowest.at + 1;
      while (end < lowest.rows.length && (lowest.rows[end] as T).seq < bound) end += 1;
      yield lowest.rows.slice(lowest.at, end);
      lowest.at = end;
      if (end < lowest.rows.length) continue;
      const { done, value } = await lowest.source.next();
      if (done === true || value.length === 0) open.splice(open.indexOf(lowest), 1);
      else Object.assign(lowest, { rows: value, at: 0 });
    }
  } finally {
    // Whoever stops reading ends the sources.
    await Promise.all(sources.map((source) => source.return(undefined)));
  }
}

function headOf({ at, rows }: { readonly rows: readonly Numbered[]; readonly at: number }): number {
  return rows[at]?.seq ?? Infinity;
}
