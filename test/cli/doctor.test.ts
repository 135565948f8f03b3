import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type DoctorDeps, examine, judgeDaysLeft } from '../../src/cli/doctor.ts';
import { tlsFolder } from '../support/tls-files.ts';

async function installation(t: { teardown(work: () => void): void }): Promise<DoctorDeps> {
  const dataDir = mkdtempSync(join(tmpdir(), 'doctor-'));
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }));
  writeFileSync(join(dataDir, 'keyring.json'), '{}', { mode: 0o600 });
  return {
    config: {
      dataDir,
      host: '127.0.0.1',
      port: 0,
      keyring: null,
      databaseUrl: null,
      tlsCertFile: null,
      tlsKeyFile: null,
      tlsMin: '1.3',
      origins: { openai: 'https://api.openai.com', anthropic: 'a', google: 'g', groq: 'q', xai: 'x' },
    },
    nodeVersion: process.version,
    schemaState: () => Promise.resolve({ version: '0001', pending: [] }),
    openVault: () => Promise.resolve([]),
    keyOrigins: () =>
      Promise.resolve([
        { id: 'key_1', provider: 'openai', origins: ['https://api.openai.com'] },
        { id: 'key_2', provider: 'custom', origins: ['http://x'] },
      ]),
    breachClock: () => Promise.resolve({ waiting: 0, dueAt: null }),
    now: () => Date.parse('2026-05-04T10:00:00Z'),
    verifyJournal: () =>
      Promise.resolve({ ok: true, streams: 1, records: 2, openCalls: 0, checkpoints: 0, problems: [] }),
  };
}

t.test('a sound installation has nothing to mend', async (t) => {
  const { ok, checks } = await examine(await installation(t));
  t.ok(ok, JSON.stringify(checks.filter((check) => !check.ok)));
  t.ok(checks.every(({ fix, detail }) => fix === null && detail !== ''));
});

t.test('each fault is found by its own check, with a fix, and hides no other', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  const { port } = taken.address() as AddressInfo;
  const sound = await installation(t);
  const { certFile } = tlsFolder(t);
  const reject = () => Promise.reject(new Error('no route'));
  const cases: [string, DoctorDeps, RegExp][] = [
    [
      'breaches',
      {
        ...sound,
        breachClock: () => Promise.resolve({ waiting: 1, dueAt: new Date('2026-05-05T22:30:00Z') }),
      },
      /36 hours are left/,
    ],
    ['node', { ...sound, nodeVersion: 'v20.19.0' }, /v20/],
    [
      'data directory',
      { ...sound, config: { ...sound.config, dataDir: join(sound.config.dataDir, 'none') } },
      /does not exist/,
    ],
    [
      'data directory',
      { ...sound, config: { ...sound.config, dataDir: join(sound.config.dataDir, 'keyring.json') } },
      /not a folder/,
    ],
    ['port', { ...sound, config: { ...sound.config, port } }, /taken/],
    [
      'certificate',
      { ...sound, config: { ...sound.config, tlsCertFile: certFile, tlsKeyFile: certFile } },
      /cannot be used/,
    ],
    ['database', { ...sound, schemaState: reject }, /no route/],
    [
      'database',
      { ...sound, schemaState: () => Promise.resolve({ version: '1', pending: ['2'] }) },
      /1 migrations/,
    ],
    [
      'vault',
      { ...sound, openVault: () => Promise.resolve(Array.from({ length: 9 }, (_, i) => `key_${i}`)) },
      /key_4 and 4 more/,
    ],
    [
      'key origins',
      {
        ...sound,
        keyOrigins: () => Promise.resolve([{ id: 'key_9', provider: 'openai', origins: ['http://old'] }]),
      },
      /key_9 \(openai: http:\/\/old\)/,
    ],
    [
      'journal',
      {
        ...sound,
        verifyJournal: () =>
          Promise.resolve({
            ok: false,
            streams: 1,
            records: 2,
            openCalls: 0,
            checkpoints: 0,
            problems: [{ stream: 'n:b', seq: 1, kind: 'hash', message: 'm' }],
          }),
      },
      /hash in n:b/,
    ],
  ];
  for (const [name, deps, detail] of cases) {
    const { ok, checks } = await examine(deps);
    t.equal(ok, false);
    t.equal(checks.length, 11);
    t.match(
      checks.find((check) => check.name === name),
      { ok: false, detail },
      name,
    );
  }
});

t.test('a keyring that others can read, or that is gone, is said so', async (t) => {
  const sound = await installation(t);
  const file = join(sound.config.dataDir, 'keyring.json');
  const keyring = async () => (await examine(sound)).checks.find(({ name }) => name === 'keyring');
  chmodSync(file, 0o640);
  t.match(await keyring(), { ok: false, fix: /^chmod 600/ });
  rmSync(file);
  t.match(await keyring(), { ok: false, fix: /from your copy/ });
  mkdirSync(file);
  t.match(await keyring(), { ok: false });
  const fromSetting = await examine({ ...sound, config: { ...sound.config, keyring: '{}' } });
  t.match(
    fromSetting.checks.find(({ name }) => name === 'keyring'),
    { ok: true },
  );
});

t.test('a certificate is told of before it ends, not after', async (t) => {
  const said = (daysLeft: number) => {
    const { ok, detail } = judgeDaysLeft('cert.pem', daysLeft);
    return [ok, detail];
  };
  t.strictSame(said(14), [true, 'cert.pem, 14 days left']);
  t.strictSame(said(13), [false, 'cert.pem, 13 days left']);
  t.strictSame(said(-1), [false, 'cert.pem has expired']);
});
