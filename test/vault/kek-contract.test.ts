import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { canaryContext, serviceContext, workspaceKeyContext } from '../../src/vault/context.ts';
import { keyringText, newLocalKey } from '../../src/vault/keyring-text.ts';
import { kmsKeyId, transitKeyId } from '../../src/vault/kek-place.ts';
import { parseKeyring, rootKeyId, type KekRing } from '../../src/vault/keyring.ts';
import { kinds } from '../../src/vault/record.ts';
import { startKms } from '../support/kms-fake.ts';
import { startTransit } from '../support/transit-fake.ts';
import { kmsKey, services, transitKey } from './root-key-services.ts';

/** One ring of one scheme, and the ways to put its key out of reach. */
interface Subject {
  readonly ring: KekRing;
  readonly id: string;
  readonly time: { now: number };
  readonly down?: (isDown: boolean) => void;
  readonly disable?: () => void;
  readonly forget?: () => void;
  readonly refuse?: () => void;
  readonly asked?: () => number;
}

const schemes: Readonly<Record<string, (t: Test) => Promise<Subject>>> = {
  async 'a local key from a file'() {
    const key = newLocalKey('active');
    return { ring: parseKeyring(keyringText([key]), 'keyring.json'), id: key.id, time: { now: 0 } };
  },
  async 'a local key from the environment'() {
    const bytes = randomBytes(32);
    const entry = { id: rootKeyId(bytes), state: 'active', key: `base64:${bytes.toString('base64')}` };
    return {
      ring: parseKeyring(JSON.stringify({ keys: [entry] }), 'SALLYPORT_KEYRING'),
      id: entry.id,
      time: { now: 0 },
    };
  },
  async 'a Transit engine'(t) {
    const fake = await startTransit(t, { namespace: 'admin/team' });
    const time = { now: Date.now() };
    let { token } = fake;
    const key = transitKey(fake, 'active', 'admin/team');
    return {
      ring: parseKeyring(
        keyringText([key]),
        'test',
        services(t, { transitToken: () => token, clock: () => time.now }),
      ),
      id: key.id,
      time,
      down: (isDown) => void (fake.isSealed = isDown),
      disable: () => {
        fake.rotate();
        fake.minDecryptionVersion = 2;
      },
      refuse: () => void (token = 'hvs.another'),
      asked: () => fake.requests.length,
    };
  },
  async 'AWS KMS'(t) {
    const time = { now: Date.now() };
    const { now } = time;
    const fake = await startKms(t, { now: () => now, sessionToken: 'FwoGZXIvYXdzEXAMPLE' });
    const key = kmsKey(fake);
    const awsCredentials = { ...fake.credentials };
    return {
      ring: parseKeyring(keyringText([key]), 'test', services(t, { awsCredentials, clock: () => time.now })),
      id: key.id,
      time,
      down: (isDown) => void (fake.mode = isDown ? 'down' : 'up'),
      disable: () => void (fake.state = 'Disabled'),
      forget: () => void (fake.state = 'Gone'),
      // Ten minutes of skew: its signatures are not taken any more.
      refuse: () => void (time.now += 600_000),
      asked: () => fake.requests.length,
    };
  },
};

const place = { deploymentId: 'dep_1', workspaceId: 'ws_1', version: 1, rootKeyId: '' };

for (const [name, start] of Object.entries(schemes)) {
  t.test(`${name}: keeps the contract of root keys`, async (t) => {
    const { ring, id, ...subject } = await start(t);
    const context = workspaceKeyContext({ ...place, rootKeyId: id });
    t.equal(ring.active().id, id);
    t.equal(rootScheme(id), ring.active().scheme);

    for (const bytes of [randomBytes(1), randomBytes(32), randomBytes(65), randomBytes(4096)]) {
      const blob = await ring.wrap(id, kinds.workspaceKey, context, bytes);
      t.ok((await ring.unwrap(id, kinds.workspaceKey, context, blob)).equals(bytes), `${bytes.length} bytes`);
      t.notOk(blob.includes(bytes) && bytes.length > 1, 'the bytes do not stand in the blob');
    }
    const secret = randomBytes(32);
    const blob = await ring.wrap(id, kinds.workspaceKey, context, secret);
    t.notOk(
      blob.equals(await ring.wrap(id, kinds.workspaceKey, context, secret)),
      'no two blobs are the same',
    );

    for (const elsewhere of [
      workspaceKeyContext({ ...place, rootKeyId: id, workspaceId: 'ws_2' }),
      workspaceKeyContext({ ...place, rootKeyId: id, version: 2 }),
      workspaceKeyContext({ ...place, rootKeyId: id, deploymentId: 'dep_2' }),
      canaryContext('dep_1'),
      serviceContext('dep_1', '', 'intake', 'ik_1'),
    ])
      await t.rejects(
        ring.unwrap(id, kinds.workspaceKey, elsewhere, blob),
        { code: 'VAULT_TAMPERED' },
        'another place',
      );
    await t.rejects(ring.unwrap(id, kinds.canary, context, blob), { code: 'VAULT_FORMAT' }, 'another kind');

    const step = Math.max(1, Math.floor(blob.length / 20));
    for (let at = 0; at < blob.length; at += step) {
      const bad = Buffer.from(blob);
      bad[at] = (bad[at] as number) ^ 0x01;
      await t.rejects(
        ring.unwrap(id, kinds.workspaceKey, context, bad),
        { name: 'VaultError' },
        `byte ${at}`,
      );
    }
    for (const bad of [
      Buffer.alloc(0),
      blob.subarray(0, 20),
      blob.subarray(0, -1),
      Buffer.concat([blob, Buffer.alloc(65_536)]),
    ])
      await t.rejects(
        ring.unwrap(id, kinds.workspaceKey, context, bad),
        { name: 'VaultError' },
        `${bad.length} bytes`,
      );

    await t.rejects(ring.wrap('k1nobody', kinds.workspaceKey, context, secret), {
      name: 'KekError',
      code: 'wrong_key',
    });
    await t.rejects(ring.unwrap('k1nobody', kinds.workspaceKey, context, blob), { code: 'wrong_key' });
    await ring.selfTest(id, canaryContext('dep_1'));

    const other = await start(t);
    await t.rejects(
      other.ring.unwrap(
        other.id,
        kinds.workspaceKey,
        workspaceKeyContext({ ...place, rootKeyId: other.id }),
        blob,
      ),
      { code: 'VAULT_WRONG_KEY' },
      'the same scheme with another key',
    );

    if (subject.down !== undefined) {
      const asked = subject.asked as () => number;
      subject.down(true);
      const attempt = () => ring.unwrap(id, kinds.workspaceKey, context, blob);
      await t.rejects(attempt(), { name: 'KekError', code: 'unavailable', isWide: true });
      const before = asked();
      await Promise.all(
        Array.from({ length: 20 }, async () =>
          t.rejects(attempt(), { code: 'unavailable', retryAfterMs: Number }),
        ),
      );
      t.equal(asked(), before, 'nobody asks in the pause');
      subject.down(false);
      await t.rejects(attempt(), { code: 'unavailable' }, 'the pause lasts though the service is back');
      subject.time.now += 1000;
      t.ok((await attempt()).equals(secret), 'then it is asked again');
    }
    for (const [what, code] of [
      ['refuse', 'denied'],
      ['disable', 'disabled'],
      ['forget', 'wrong_key'],
    ] as const) {
      const fresh = await start(t);
      const cause = fresh[what];
      if (cause === undefined) continue;
      const at = workspaceKeyContext({ ...place, rootKeyId: fresh.id });
      const record = await fresh.ring.wrap(fresh.id, kinds.workspaceKey, at, secret);
      cause();
      await t.rejects(
        fresh.ring.unwrap(fresh.id, kinds.workspaceKey, at, record),
        { name: 'KekError', code },
        what,
      );
    }

    ring.close();
    await t.rejects(ring.wrap(id, kinds.workspaceKey, context, secret), { code: 'wrong_key' }, 'closed');
  });
}

function rootScheme(id: string): string {
  return { k1: 'local', t1: 'transit', a1: 'kms' }[id.slice(0, 2)] ?? '';
}

t.test('a Transit engine that ignores the place of a record does not pass for a root key', async (t) => {
  const fake = await startTransit(t);
  fake.ignoresAssociatedData = true;
  const key = transitKey(fake);
  const ring = parseKeyring(keyringText([key]), 'test', services(t, { transitToken: () => fake.token }));
  await t.rejects(ring.selfTest(key.id, canaryContext('dep_1')), {
    code: 'wrong_key',
    message: /ignores the context/,
  });
});

t.test('older versions of a key that was rotated in its Transit engine open on', async (t) => {
  const fake = await startTransit(t);
  const key = transitKey(fake);
  const ring = parseKeyring(keyringText([key]), 'test', services(t, { transitToken: () => fake.token }));
  const context = canaryContext('dep_1');
  const old = await ring.wrap(key.id, kinds.canary, context, Buffer.from('before'));
  fake.rotate();
  const fresh = await ring.wrap(key.id, kinds.canary, context, Buffer.from('after'));
  t.match(old.toString('latin1'), /vault:v1:/);
  t.match(fresh.toString('latin1'), /vault:v2:/);
  t.equal((await ring.unwrap(key.id, kinds.canary, context, old)).toString(), 'before');
});

t.test('a token that an agent renews is read at the next request', async (t) => {
  const fake = await startTransit(t);
  let token = fake.token;
  const time = { now: 0 };
  const key = transitKey(fake);
  const ring = parseKeyring(
    keyringText([key]),
    'test',
    services(t, { transitToken: () => token, clock: () => time.now }),
  );
  const context = canaryContext('dep_1');
  const blob = await ring.wrap(key.id, kinds.canary, context, Buffer.from('x'));
  fake.token = 'hvs.renewed';
  await t.rejects(ring.unwrap(key.id, kinds.canary, context, blob), { code: 'denied', isWide: true });
  token = 'hvs.renewed';
  time.now += 1000;
  t.equal((await ring.unwrap(key.id, kinds.canary, context, blob)).toString(), 'x');
});

t.test('AWS KMS sees which workspace is opened, and throttling is a pause', async (t) => {
  const fake = await startKms(t);
  const key = kmsKey(fake);
  const ring = parseKeyring(keyringText([key]), 'test', services(t, { awsCredentials: fake.credentials }));
  const context = workspaceKeyContext({ ...place, rootKeyId: key.id });
  const blob = await ring.wrap(key.id, kinds.workspaceKey, context, Buffer.from('x'));
  const sent = JSON.parse(fake.requests[0]?.body.toString() ?? '') as { EncryptionContext: object };
  t.strictSame(sent.EncryptionContext, {
    'sallyport:kind': 'ws',
    'sallyport:deployment': 'dep_1',
    'sallyport:workspace': 'ws_1',
    'sallyport:version': '1',
    'sallyport:rootKey': key.id,
  });
  fake.deniedWorkspace = 'ws_1';
  await t.rejects(ring.unwrap(key.id, kinds.workspaceKey, context, blob), { code: 'denied', isWide: false });
  const other = workspaceKeyContext({ ...place, rootKeyId: key.id, workspaceId: 'ws_2' });
  await t.resolves(
    ring.wrap(key.id, kinds.workspaceKey, other, Buffer.from('x')),
    'another workspace goes on',
  );
  fake.isThrottling = true;
  await t.rejects(ring.wrap(key.id, kinds.workspaceKey, other, Buffer.from('x')), { code: 'unavailable' });
});

t.test('a ring with a key in a service cannot be opened where no service can be reached', async (t) => {
  const fake = await startTransit(t);
  t.throws(() => parseKeyring(keyringText([transitKey(fake)]), 'test'), { code: 'CONFIG_INVALID' });
});

t.test('a place that is not one is refused before anything is asked', async (t) => {
  const transit = { address: 'https://vault.internal:8200', mount: 'transit', key: 'sallyport' };
  const kms = { region: 'eu-central-1', keyId: '1234abcd-12ab-34cd-56ef-1234567890ab' };
  const bad: readonly object[] = [
    { transit: { ...transit, address: 'http://vault.internal:8200' } },
    { transit: { ...transit, address: 'https://user:secret@vault.internal' } },
    { transit: { ...transit, address: 'https://vault.internal/v1' } },
    { transit: { ...transit, address: 'file:///etc/passwd' } },
    { transit: { ...transit, mount: '../sys' } },
    { transit: { ...transit, mount: 'a//b' } },
    { transit: { ...transit, key: 'a/b' } },
    { transit: { ...transit, key: 'a?b' } },
    { transit: { ...transit, namespace: 'team/' } },
    { transit: { ...transit, token: 'hvs.x' } },
    { kms: { ...kms, keyId: 'alias/sallyport' } },
    { kms: { ...kms, region: 'eu-central-1.evil.example/' } },
    { kms: { ...kms, endpoint: 'http://kms.evil.example' } },
    { kms, transit },
    { kms: { region: 'eu-central-1' } },
  ];
  for (const entry of bad) {
    const text = JSON.stringify({ keys: [{ id: 't1', state: 'active', ...entry }] });
    t.throws(
      () => parseKeyring(text, 'test', services(t)),
      { code: 'CONFIG_INVALID', message: /key 1 / },
      JSON.stringify(entry),
    );
  }
  const right = { id: transitKeyId(transit), state: 'active', transit };
  t.doesNotThrow(() => parseKeyring(JSON.stringify({ keys: [right] }), 'test', services(t)));
  t.throws(
    () => parseKeyring(JSON.stringify({ keys: [{ ...right, id: kmsKeyId(kms) }] }), 'test', services(t)),
    {
      message: /id computed from it/,
    },
  );
});
