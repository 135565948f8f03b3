import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { blocks, pages, root } from './pages.ts';

/** As GitHub makes them: lower case, punctuation gone, spaces to hyphens, a repeated one numbered. */
function anchorsOf(text: string): ReadonlySet<string> {
  const prose = blocks(text).reduce((rest, { code }) => rest.replace(code, ''), text);
  const anchors = new Set<string>();
  for (const [, title = ''] of prose.matchAll(/^#{1,6} (.+)$/gm)) {
    const base = title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-');
    let anchor = base;
    for (let n = 1; anchors.has(anchor); n += 1) anchor = `${base}-${n}`;
    anchors.add(anchor);
  }
  return anchors;
}

t.test('every relative link leads to a file, and to a heading where it names one', async (t) => {
  for (const { name, text } of pages) {
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [file = '', anchor] = target.split('#');
      const at = file === '' ? name : path.posix.join(path.posix.dirname(name), file);
      t.notOk(at.startsWith('..'), `${name}: ${target} stays inside`);
      const isThere = existsSync(path.join(root, at));
      t.ok(isThere, `${name}: ${target}`);
      if (anchor === undefined || !isThere || statSync(path.join(root, at)).isDirectory()) continue;
      const page = pages.find((candidate) => candidate.name === at);
      t.ok(page !== undefined && anchorsOf(page.text).has(anchor), `${name}: ${target} has its heading`);
    }
  }
});

t.test('files that pages name in the source exist', async (t) => {
  for (const { name, text } of pages) {
    for (const [, file = ''] of text.matchAll(
      /`((?:src|test|docs|migrations|scripts|bin|bench)\/[\w./*-]*)`/g,
    )) {
      if (file.includes('*')) continue;
      t.ok(existsSync(path.join(root, file)), `${name}: ${file}`);
    }
  }
});

t.test('no page names a package registry or a folder of the machine that it was written on', async (t) => {
  for (const { name, text } of pages) {
    t.notMatch(text, /registry\.|artifactory|verdaccio/i, `${name}: no registry`);
    t.notMatch(text, /(?:^|[\s`("'=])\/(?:work|tmp|root|home|Users)\//, `${name}: no folder of a machine`);
  }
});
