import type { ModelAlias } from './snapshot.ts';

interface Aliases {
  readonly exact: ReadonlyMap<string, ModelAlias>;
  /** With a `*`, the longest first. */
  readonly patterns: readonly ModelAlias[];
}

/** By the array of a snapshot: sorted once, and gone with it. */
const sorted = new WeakMap<readonly ModelAlias[], Aliases>();

export interface Aliased {
  readonly alias: string;
  /** As on /v1, its `*` filled in; not looked up as an alias again. */
  readonly target: string;
}

/**
 * What a workspace's alias makes of a name, or null. A whole alias goes before one with a `*`, and of these the one with the most
 * text of its own; `*` stands for no slash unless one stands before it, so that `provider/model` is taken over by none.
 */
export function aliasOf(aliases: readonly ModelAlias[], model: string): Aliased | null {
  if (aliases.length === 0) return null;
  const { exact, patterns } = sortedOf(aliases);
  const whole = exact.get(model);
  if (whole !== undefined) return { alias: whole.alias, target: whole.target };
  for (const { alias, target } of patterns) {
    const text = starText(alias, model);
    // Not by `replace` with a string: `$&` in a model's name is not ours to read.
    if (text !== null) return { alias, target: target.replace('*', () => text) };
  }
  return null;
}

/** What stands where the alias has its `*`; null: it doesn't match. */
function starText(alias: string, model: string): string | null {
  const star = alias.indexOf('*');
  const [start, end] = [alias.slice(0, star), alias.slice(star + 1)];
  if (model.length <= start.length + end.length || !model.startsWith(start) || !model.endsWith(end))
    return null;
  const text = model.slice(star, model.length - end.length);
  return start.includes('/') || !text.includes('/') ? text : null;
}

function sortedOf(aliases: readonly ModelAlias[]): Aliases {
  const known = sorted.get(aliases);
  if (known !== undefined) return known;
  const made = {
    exact: new Map(aliases.filter(({ alias }) => !alias.includes('*')).map((one) => [one.alias, one])),
    patterns: aliases
      .filter(({ alias }) => alias.includes('*'))
      .toSorted((a, b) => b.alias.length - a.alias.length || (a.alias < b.alias ? -1 : 1)),
  };
  sorted.set(aliases, made);
  return made;
}
