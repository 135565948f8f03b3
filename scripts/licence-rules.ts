/** An entry of `packages` in package-lock.json, as far as it is read. */
export interface LockedPackage {
  readonly version?: string;
  readonly license?: string;
  readonly dev?: boolean;
  /** A folder of this repository. */
  readonly link?: boolean;
}

/** What is installed to run: permissive, as Apache-2.0 itself is; nothing that asks for more than a notice. */
const production = new Set([
  '0BSD',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BlueOak-1.0.0',
  'ISC',
  'MIT',
  'MIT-0',
  'PostgreSQL',
]);

/** What tests and builds use besides, and nobody passes on: public domain, and a list of licences under CC-BY. */
const development = new Set([...production, 'AFL-2.1', 'CC-BY-3.0', 'CC0-1.0', 'Unlicense']);

/** Packages whose manifest names no licence, with what the licence file of that version says. */
const read: Readonly<Record<string, string>> = { 'jsonc-simple-parser@3.0.0': 'MIT' };

/** Counts by licence, and a line for each package that may not be used: production dependencies and those of development apart. */
export function judge(packages: Readonly<Record<string, LockedPackage>>): {
  readonly counts: Readonly<Record<'production' | 'development', Readonly<Record<string, number>>>>;
  readonly problems: readonly string[];
} {
  const counts = { production: {} as Record<string, number>, development: {} as Record<string, number> };
  const problems: string[] = [];
  for (const [place, { version = '', license, dev = false, link = false }] of Object.entries(packages)) {
    if (link || !place.includes('node_modules/')) continue;
    const name = `${place.slice(place.lastIndexOf('node_modules/') + 'node_modules/'.length)}@${version}`;
    const licence = license ?? (Object.hasOwn(read, name) ? read[name] : undefined);
    const kind = dev ? 'development' : 'production';
    if (licence === undefined) {
      problems.push(`${name} names no licence`);
      continue;
    }
    counts[kind][licence] = (counts[kind][licence] ?? 0) + 1;
    if (!isAllowed(licence, dev ? development : production))
      problems.push(`${name} (${kind}) is under ${licence}, which is not on the list`);
  }
  return { counts, problems };
}

/** An SPDX expression: of what OR joins one has to be allowed, of what AND joins all. What cannot be read is not allowed. */
export function isAllowed(expression: string, allowed: ReadonlySet<string>): boolean {
  const words = expression.match(/[()]|[\w.+-]+/g) ?? [];
  let at = 0;
  const term = (): boolean => {
    if (words[at] !== '(') return allowed.has(words[at++] ?? '');
    at += 1;
    const inner = either();
    at += words[at] === ')' ? 1 : Number.POSITIVE_INFINITY;
    return inner;
  };
  const all = (): boolean => {
    let is = term();
    while (words[at] === 'AND') {
      at += 1;
      is = term() && is;
    }
    return is;
  };
  const either = (): boolean => {
    let is = all();
    while (words[at] === 'OR') {
      at += 1;
      is = all() || is;
    }
    return is;
  };
  const is = either();
  // What is left over (a WITH, a word too many) was not judged.
  return is && at === words.length && words.join('') === expression.replaceAll(/\s/g, '');
}
