import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { generateX25519Identity } from 'age-encryption';
import t from 'tap';
import { runCli } from '../../src/cli/run.ts';
import { readConfig } from '../../src/config.ts';
import { createCliDeps } from '../../src/program.ts';
import { said } from '../support/said.ts';

const top = mkdtempSync(path.join(tmpdir(), 'cli-safe-'));
t.teardown(() => rmSync(top, { recursive: true, force: true }));

/** The program in this process. */
async function run(argv: readonly string[], settings: Readonly<Record<string, string>> = {}) {
  const [input, output, error] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const exit = await runCli({
    argv: [...argv, '--json'],
    terminal: { input, output, error },
    version: 'test',
    readConfig: () => readConfig({ DATA_DIR: path.join(top, 'data'), LOG_LEVEL: 'silent', ...settings }),
    loadDeps: async (config) => createCliDeps(config, { version: 'test', output }),
  });
  const text = said(error) || '{}';
  return { exit, text, ...(JSON.parse(text) as { code?: string; message?: string; fix?: string }) };
}

t.test('what cannot be meant is refused with the form that can', async (t) => {
  const identity = await generateX25519Identity();
  for (const argv of [
    ['backup', '--to', top, '--every', '5x'],
    ['backup', '--to', top, '--every', '24h', '--keep', '0'],
    ['backup', '--to', top, '--to', top],
    ['backup'],
    ['restore', '--from', top, '--at', 'yesterday'],
    ['vault', 'export'],
    ['vault', 'import'],
    ['vault', 'import', 'FILE', '--identity', identity],
  ]) {
    const { exit, code, text } = await run(argv);
    t.same({ exit, code }, { exit: 2, code: 'REQUEST_INVALID' }, argv.slice(0, 3).join(' '));
    t.notOk(text.includes(identity));
  }
});

t.test('with a server of one’s own the page is named that says how', async (t) => {
  const settings = { DATABASE_URL: 'postgres://user:geheim@127.0.0.1:1/none' };
  for (const argv of [
    ['backup', '--to', path.join(top, 'backups')],
    ['backup', '--to', path.join(top, 'backups'), '--every', '1h'],
    ['restore', '--from', top],
  ]) {
    const refused = await run(argv, settings);
    t.match(refused, { exit: 78, code: 'CONFIG_INVALID', fix: /docs\/backup\.md/ });
    t.notMatch(refused.text, /geheim/);
  }
});

t.test('what is not there is said, and nothing is made', async (t) => {
  const file = path.join(top, 'letter.jsonl');
  writeFileSync(file, 'dear\n');
  const half = path.join(top, 'half.jsonl');
  writeFileSync(half, '{"format":"sallyport-vault-export"');
  const empty = mkdtempSync(path.join(top, 'empty-'));
  const names = readdirSync(top);
  t.match(await run(['restore', '--from', path.join(top, 'nowhere')]), { exit: 3, code: 'NOT_FOUND' });
  t.match(await run(['restore', '--from', empty]), { exit: 3, message: /no backup in that folder/ });
  t.match(await run(['restore', '--from', empty, '--identity', path.join(top, 'none')]), {
    exit: 3,
    message: /identity file cannot be read/,
  });
  t.match(await run(['vault', 'import', path.join(top, 'none')]), { exit: 3 });
  t.match(await run(['vault', 'import', file]), { exit: 1, message: /no vault export/ });
  t.match(await run(['vault', 'import', half]), { exit: 1, message: /breaks off/ });
  t.match(await run(['vault', 'export', '--to', path.join(top, 'x.jsonl')]), { exit: 78 });
  t.match(await run(['backup', '--to', path.join(top, 'empty')]), { exit: 78, message: /not been set up/ });
  t.match(await run(['backup', '--to', path.join(top, 'empty'), '--every', '1h']), { exit: 78 });
  t.same(readdirSync(top), names);
});

t.test('backups are not kept in the very folder that they are of', async (t) => {
  const dataDir = path.join(top, 'own');
  mkdirSync(path.join(dataDir, 'postgres'), { recursive: true });
  writeFileSync(path.join(dataDir, 'postgres', 'PG_VERSION'), '18\n');
  symlinkSync(dataDir, path.join(top, 'alias'));
  symlinkSync(path.join(dataDir, 'postgres'), path.join(top, 'inner'));
  for (const DATA_DIR of [dataDir, path.join(top, 'alias')]) {
    for (const to of ['own', 'own/backups', 'own/postgres/a/b', 'alias/backups', 'inner', 'inner/a'])
      for (const every of [[], ['--every', '1h']]) {
        const refused = await run(['backup', '--to', path.join(top, to), ...every], { DATA_DIR });
        t.match(
          refused,
          { exit: 2, code: 'REQUEST_INVALID', message: /lies in DATA_DIR/, fix: /--to DIR/ },
          `${DATA_DIR} ${to}`,
        );
      }
  }
  t.same(readdirSync(dataDir), ['postgres']);
  t.same(readdirSync(path.join(dataDir, 'postgres')), ['PG_VERSION']);
  t.match(
    await run(['backup', '--to', path.join(top, 'absent/data/b')], { DATA_DIR: path.join(top, 'absent') }),
    {
      message: /not been set up/,
    },
  );
});

t.test('a schedule waits for its gateway, and ends well when it is told to', async (t) => {
  const dataDir = path.join(top, 'later');
  mkdirSync(path.join(dataDir, 'postgres'), { recursive: true });
  writeFileSync(path.join(dataDir, 'postgres', 'PG_VERSION'), '18\n');
  const error = new PassThrough();
  const ended = runCli({
    argv: ['backup', '--to', path.join(top, 'backups'), '--every', '24h'],
    terminal: { input: new PassThrough(), output: new PassThrough(), error },
    version: 'test',
    readConfig: () => readConfig({ DATA_DIR: dataDir, LOG_LEVEL: 'silent' }),
    loadDeps: async (config) => createCliDeps(config, { version: 'test', output: new PassThrough() }),
  });
  const [said] = await once(error, 'data');
  t.match(String(said), /No gateway runs here/);
  process.emit('SIGTERM');
  t.equal(await ended, 0);
});
