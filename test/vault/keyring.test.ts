import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { SallyportError } from '../../src/errors.ts';
import { createKeyringFile, readKeyringFile } from '../../src/vault/keyring-file.ts';
import type { RingKey } from '../../src/vault/keyring-text.ts';
import { newKeyringText, parseKeyring, rootKeyId } from '../../src/vault/keyring.ts';
import { kinds } from '../../src/vault/record.ts';

interface Entry {
  id: string;
  state: string;
  key: string;
}

function entry(state = 'active', key: Uint8Array = randomBytes(32)): Entry {
  return { id: rootKeyId(key), state, key: `base64:${Buffer.from(key).toString('base64')}` };
}

const idsOf = (keys: readonly RingKey[]) => keys.map(({ id, state }) => [id, state]);

const ringOf = (...keys: unknown[]): string => JSON.stringify({ keys });

function refusal(text: string): string {
  try {
    parseKeyring(text, 'SALLYPORT_KEYRING');
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'CONFIG_INVALID' && error.cause === undefined)
      return error.message;
    throw error;
  }
  throw new Error('the ring was taken');
}

t.test('a root key’s id is computed from it', async (t) => {
  t.equal(rootKeyId(Uint8Array.from({ length: 32 }, (_, i) => i)), 'k1d59e29fe69fb1f05ea82');
  const made = JSON.parse(newKeyringText()) as { keys: Entry[] };
  const [key] = made.keys;
  t.equal(made.keys.length, 1);
  t.equal(key?.state, 'active');
  t.equal(key?.id, rootKeyId(Buffer.from(key?.key.slice(7) ?? '', 'base64')));
  t.not(newKeyringText(), newKeyringText());
});

t.test('a ring wraps with any of its keys, and a retired one opens nothing', async (t) => {
  const [active, old, gone] = [entry(), entry('decrypt_only'), entry('retired')];
  const ring = parseKeyring(ringOf(active, old, gone), 'test');
  t.equal(ring.active().id, active.id);
  t.strictSame(
    ring.list().map(({ id, state }) => [id, state]),
    [active, old, gone].map(({ id, state }) => [id, state]),
  );
  t.equal(ring.get('k1unknown'), null);
  const place = Buffer.from('place');
  for (const { id } of [active, old]) {
    const blob = await ring.wrap(id, kinds.workspaceKey, place, Buffer.from('workspace key'));
    t.equal((await ring.unwrap(id, kinds.workspaceKey, place, blob)).toString(), 'workspace key');
    await t.rejects(ring.unwrap(id === active.id ? old.id : active.id, kinds.workspaceKey, place, blob), {
      code: 'VAULT_WRONG_KEY',
    });
  }
  await t.rejects(ring.wrap(gone.id, kinds.workspaceKey, place, Buffer.alloc(32)), {
    code: 'wrong_key',
  });
  await t.rejects(ring.wrap('k1unknown', kinds.workspaceKey, place, Buffer.alloc(32)), {
    code: 'wrong_key',
  });
  ring.close();
  await t.rejects(ring.wrap(active.id, kinds.workspaceKey, place, Buffer.alloc(32)), {
    code: 'wrong_key',
  });
});

t.test('a ring that is not one is refused, and no value is told', async (t) => {
  const good = entry();
  const { key, ...withoutKey } = good;
  const body = key.slice(7);
  const bad: readonly (readonly [string, RegExp])[] = [
    ['', /not JSON/],
    ['{', /not JSON/],
    [`{"keys":[{"key":"${key}"`, /not JSON/],
    ['[]', /not JSON/],
    ['{"keys":{}}', /not JSON/],
    [JSON.stringify({ keys: [good], more: 1 }), /not JSON/],
    [ringOf(), /1 to 64/],
    [ringOf(...Array.from({ length: 65 }, () => good)), /1 to 64/],
    [ringOf({ ...good, extra: 1 }), /unknown field/],
    [ringOf({ ...good, state: 'Active' }), /no state/],
    [ringOf(withoutKey), /32 bytes/],
    [ringOf({ ...good, key: body }), /32 bytes/],
    [ringOf({ ...good, key: `base64:${body.slice(0, -1)}` }), /32 bytes/],
    [ringOf({ ...good, key: `base64:${body.slice(0, 20)}\n${body.slice(20)}` }), /32 bytes/],
    [ringOf({ ...good, key: `base64:${body}!!` }), /32 bytes/],
    [
      ringOf({ ...good, key: `base64:${randomBytes(32).toString('base64url').replaceAll('=', '')}` }),
      /32 bytes/,
    ],
    [ringOf({ ...good, key: `base64:${randomBytes(31).toString('base64')}` }), /32 bytes/],
    [ringOf({ ...good, key: `base64:${randomBytes(33).toString('base64')}` }), /32 bytes/],
    [ringOf({ ...good, key: `hex:${randomBytes(32).toString('hex')}` }), /32 bytes/],
    [ringOf({ ...good, id: entry().id }), new RegExp(`computed from it, which is ${good.id}`)],
    [ringOf(good, { ...good, state: 'decrypt_only' }), new RegExp(`${good.id} is there twice`)],
    [ringOf(good, entry()), /exactly one key must be active, and 2 are/],
    [ringOf(entry('staged'), entry('decrypt_only')), /exactly one key must be active, and 0 are/],
    [' '.repeat(70_000), /64 KiB/],
  ];
  for (const [text, expected] of bad) {
    const message = refusal(text);
    t.match(message, expected);
    t.match(message, /SALLYPORT_KEYRING/);
    t.notOk(message.includes(body.slice(0, 10)));
  }
});

t.test(
  'keys of one repeated byte and published samples are refused, those of our own vectors too',
  async (t) => {
    const samples = [
      Buffer.alloc(32),
      Buffer.alloc(32, 0xff),
      Buffer.alloc(32, 0x41),
      ...[0, 0x20, 0x40].map((start) => Buffer.from(Array.from({ length: 32 }, (_, i) => start + i))),
      Buffer.from('0123456789abcdef0123456789abcdef'),
      Buffer.from('603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4', 'hex'),
    ];
    for (const key of samples) t.match(refusal(ringOf(entry('active', key))), /published sample/);
  },
);

t.test('the keyring file', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'keyring-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const path = join(folder, 'keyring.json');
  const nothing = { workspaceKeys: 0, hasDeployment: false };

  await t.test('is not made when the database holds sealed keys', async (t) => {
    for (const found of [
      { workspaceKeys: 3, hasDeployment: true },
      { workspaceKeys: 1, hasDeployment: false },
      { workspaceKeys: 0, hasDeployment: true },
    ]) {
      await t.rejects(createKeyringFile(path, found), { code: 'CONFIG_INVALID', message: /already holds/ });
    }
    t.strictSame(await readdir(folder), []);
  });

  await t.test('is made for its owner alone on the very first start, and read again', async (t) => {
    const umask = process.umask(0o777);
    const made = await createKeyringFile(path, nothing).finally(() => process.umask(umask));
    t.equal((await stat(path)).mode & 0o777, 0o600);
    t.strictSame(await readdir(folder), ['keyring.json'], 'no draft is left');
    t.strictSame(idsOf(await readKeyringFile(path)), idsOf(made));
  });

  await t.test('is never overwritten', async (t) => {
    const before = await readFile(path);
    await t.rejects(createKeyringFile(path, nothing), { code: 'CONFIG_INVALID', message: /there already/ });
    t.ok(before.equals(await readFile(path)));
    t.strictSame(await readdir(folder), ['keyring.json']);
  });

  await t.test('is refused when others may read or write it', async (t) => {
    for (const mode of [0o640, 0o604, 0o620, 0o602, 0o644, 0o601]) {
      await chmod(path, mode);
      await t.rejects(
        readKeyringFile(path),
        { code: 'CONFIG_INVALID', message: /chmod 600/ },
        mode.toString(8),
      );
    }
    await chmod(path, 0o400);
    t.equal((await readKeyringFile(path)).length, 1);
  });

  await t.test('is refused when it is missing, a link, a folder or too long', async (t) => {
    const other = join(folder, 'other');
    await t.rejects(readKeyringFile(other), { code: 'CONFIG_INVALID', message: /not there/ });
    await symlink(path, other);
    await t.rejects(readKeyringFile(other), { code: 'CONFIG_INVALID' });
    await t.rejects(readKeyringFile(folder), { code: 'CONFIG_INVALID', message: /regular file/ });
    const long = join(folder, 'long');
    await writeFile(long, ' '.repeat(70_000), { mode: 0o600 });
    await t.rejects(readKeyringFile(long), { code: 'CONFIG_INVALID', message: /64 KiB/ });
  });
});
