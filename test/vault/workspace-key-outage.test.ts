import t, { type Test } from 'tap';
import { rewrap } from '../../src/vault/keyring-rewrap.ts';
import {
  inState,
  keyringText,
  newLocalKey,
  readKeyringText,
  type RingKey,
} from '../../src/vault/keyring-text.ts';
import { parseKeyring } from '../../src/vault/keyring.ts';
import { startKms, type KmsFake } from '../support/kms-fake.ts';
import { kmsKey, services } from './root-key-services.ts';
import { testVault } from './test-vault.ts';

const place = { origin: 'https://api.openai.com', header: 'authorization' };

/** A vault whose root key is in KMS, with the time in our hand. */
async function kmsVault(t: Test) {
  let fake: KmsFake | null = null;
  const base = await testVault(t, async (time) => {
    fake = await startKms(t, { now: () => time.now });
    const awsCredentials = fake.credentials;
    return parseKeyring(
      keyringText([kmsKey(fake)]),
      'test',
      services(t, { awsCredentials, clock: () => time.now }),
    );
  });
  return { ...base, fake: fake as unknown as KmsFake };
}

t.test(
  'KMS down: cached workspaces go on until their time is up, then 503, and no retry storm',
  async (t) => {
    const { fake, vault, time, newWorkspace, seal } = await kmsVault(t);
    const [one, two] = [await newWorkspace(), await newWorkspace()];
    const row = await seal({ workspaceId: one });
    await vault.prepare(row);
    fake.mode = 'down';
    time.now += 239_000;
    const prepared = await vault.prepare(row);
    t.ok(prepared.openInto(Buffer.alloc(500), 0, place) > 0, 'goes on from the cache');
    t.equal(await vault.check(), 'cached');

    time.now += 61_000;
    const asked = fake.requests.length;
    await t.rejects(vault.prepare(row), { code: 'VAULT_SEALED', status: 503 });
    const refusals = await Promise.allSettled(
      Array.from({ length: 200 }, (_, i) => vault.workspaceKey(i % 2 === 0 ? one : two)),
    );
    for (const { status, ...rest } of refusals) {
      if (status !== 'rejected') t.fail('it opened');
      else t.match((rest as { reason: unknown }).reason, { code: 'VAULT_SEALED', retryAfter: Number });
    }
    t.equal(fake.requests.length, asked, 'connections are cut before a request is whole');
    await t.rejects(vault.check(), { code: 'VAULT_SEALED' });

    fake.mode = 'up';
    time.now += 30_000;
    t.ok((await vault.prepare(row)).openInto(Buffer.alloc(500), 0, place) > 0, 'and comes back by itself');
    t.equal(await vault.check(), 'open');
  },
);

t.test('one workspace asks KMS once, however many of its calls wait', async (t) => {
  const { fake, vault, time, newWorkspace } = await kmsVault(t);
  const one = await newWorkspace();
  time.now += 300_000;
  const before = fake.requests.length;
  await Promise.all(Array.from({ length: 100 }, () => vault.workspaceKey(one)));
  t.equal(fake.requests.length, before + 1);
});

t.test('KMS denying one workspace stops that one alone', async (t) => {
  const { fake, vault, time, newWorkspace } = await kmsVault(t);
  const [denied, other] = [await newWorkspace(), await newWorkspace()];
  time.now += 300_000;
  fake.deniedWorkspace = denied;
  await t.rejects(vault.workspaceKey(denied), { code: 'VAULT_SEALED', retryAfter: 5 });
  await t.resolves(vault.workspaceKey(other));
  const before = fake.requests.length;
  for (let i = 0; i < 20; i += 1) await t.rejects(vault.workspaceKey(denied), { code: 'VAULT_SEALED' });
  t.equal(fake.requests.length, before, 'a no is believed for a while');
  fake.deniedWorkspace = null;
  time.now += 5000;
  await t.resolves(vault.workspaceKey(denied));
});

t.test('readiness asks KMS every 5 s at most', async (t) => {
  const { fake, vault, time } = await kmsVault(t);
  time.now += 5000;
  const before = fake.requests.length;
  for (let i = 0; i < 50; i += 1) t.equal(await vault.check(), 'open');
  t.equal(fake.requests.length, before + 1);
  time.now += 5000;
  await vault.check();
  t.equal(fake.requests.length, before + 2);
});

t.test('a start without the key service says which fault it is', async (t) => {
  const { fake, ring, restart, time } = await kmsVault(t);
  for (const [state, told] of [
    ['Disabled', /disabled/],
    ['PendingDeletion', /disabled/],
    ['Gone', /wrong_key/],
  ] as const) {
    fake.state = state;
    const again = parseKeyring(
      keyringText([kmsKey(fake)]),
      'test',
      services(t, { awsCredentials: fake.credentials, clock: () => time.now }),
    );
    await t.rejects(restart(again), { code: 'VAULT_SEALED', message: told }, state);
  }
  fake.state = 'Enabled';
  const stranger = { ...fake.credentials, secretAccessKey: 'wrong' };
  const refused = parseKeyring(
    keyringText([kmsKey(fake)]),
    'test',
    services(t, { awsCredentials: stranger, clock: () => time.now }),
  );
  await t.rejects(restart(refused), { code: 'VAULT_SEALED', message: /denied/ });
  const none = parseKeyring(keyringText([kmsKey(fake)]), 'test', services(t));
  await t.rejects(restart(none), { message: /AWS_ACCESS_KEY_ID/ });
  await restart(ring);
});

t.test('a row that another node has sealed anew is read again before it is given up', async (t) => {
  const { text, ring, vault, time, restart, newWorkspace, seal, alarms, database } = await testVault(t);
  const workspaceId = await newWorkspace();
  const row = await seal({ workspaceId });
  const [old] = readKeyringText(text, 'test');
  const fresh = newLocalKey('active');
  const other = parseKeyring(keyringText([fresh, inState(old as RingKey, 'decrypt_only')]), 'other node');
  const second = await restart(other);
  await second.workspaceKey(workspaceId);
  await rewrap(
    { store: database.store, ring: other, deploymentId: vault.deploymentId },
    new AbortController().signal,
  );
  // Both nodes have let go of the old key; the first still holds the row that was under it.
  const after: readonly RingKey[] = [fresh, { id: ring.active().id, state: 'retired' }];
  ring.replace(after);
  other.replace(after);
  time.now += 300_000;
  t.ok((await vault.prepare(row)).openInto(Buffer.alloc(500), 0, place) > 0);
  t.ok((await second.prepare(row)).openInto(Buffer.alloc(500), 0, place) > 0);
  t.equal(await vault.check(), 'open', 'the canary is read again too');
  t.strictSame(alarms, []);
});
