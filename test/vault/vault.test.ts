import { randomBytes } from 'node:crypto';
import t from 'tap';
import { openStore } from '../../src/db/store.ts';
import { newId } from '../../src/ids.ts';
import type { AddressSalt } from '../../src/vault/address-salts.ts';
import { countSealed } from '../../src/vault/deployment.ts';
import { parseKeyring, type KekRing } from '../../src/vault/keyring.ts';
import { type AddressOwner, createVault } from '../../src/vault/vault.ts';
import { knownOrigins, newSecret, testVault } from './test-vault.ts';

const place = { origin: 'https://api.openai.com', header: 'authorization' };

t.test('a sealed key opens for its own origin and header, and for nothing else', async (t) => {
  const { vault, newWorkspace, seal } = await testVault(t);
  const workspaceId = await newWorkspace();
  const secret = newSecret();
  const row = await seal({ workspaceId, secret });
  t.notOk(Buffer.concat([row.wrap, row.payload]).includes(secret), 'confidential');

  const prepared = await vault.prepare(row);
  const into = Buffer.alloc(prepared.maxBytes + 7);
  t.equal(prepared.openInto(into, 7, place), secret.length);
  t.ok(into.subarray(7, 7 + secret.length).equals(secret));
  t.ok(into.subarray(0, 7).every((byte) => byte === 0));
  t.ok(into.subarray(7 + secret.length).every((byte) => byte === 0));

  const refused = Buffer.alloc(prepared.maxBytes);
  for (const [elsewhere, code] of [
    [{ ...place, origin: 'https://evil.example' }, 'KEY_ORIGIN'],
    [{ ...place, origin: 'http://api.openai.com' }, 'KEY_ORIGIN'],
    [{ ...place, origin: 'https://api.openai.com:444' }, 'KEY_ORIGIN'],
    [{ ...place, origin: 'https://api.openai.com/' }, 'KEY_ORIGIN'],
    [{ ...place, header: 'x-api-key' }, 'KEY_INVALID'],
    [{ ...place, header: 'cookie' }, 'KEY_INVALID'],
    [{ ...place, header: 'Authorization' }, 'KEY_INVALID'],
  ] as const) {
    t.throws(() => prepared.openInto(refused, 0, elsewhere), { code }, JSON.stringify(elsewhere));
  }
  t.throws(() => prepared.checkOrigin(place.origin), { code: 'KEY_INVALID' }, 'it has a credential');
  t.throws(() => prepared.openInto(Buffer.alloc(10), 0, place), { code: 'KEY_INVALID' }, 'no room');
  t.throws(
    () => prepared.openInto(refused, refused.length - 5, place),
    { code: 'KEY_INVALID' },
    'no room at the end',
  );
  t.ok(
    refused.every((byte) => byte === 0),
    'nothing was written on the way to a refusal',
  );
});

t.test('moved or edited rows open nothing: no column redirects a key', async (t) => {
  const { vault, newWorkspace, seal, alarms } = await testVault(t);
  const [workspaceId, other] = [await newWorkspace(), await newWorkspace()];
  const row = await seal({ workspaceId });
  const second = await seal({ workspaceId, version: 2, keyId: row.keyId });
  const stranger = await seal({ workspaceId: other });
  const flipped = (blob: Buffer): Buffer =>
    blob.map((byte, at) => (at === blob.length - 1 ? byte ^ 1 : byte)) as Buffer;
  for (const change of [
    { workspaceId: other },
    { keyId: newId('key') },
    { version: 2 },
    { provider: 'groq' },
    { provider: 'custom' },
    { wrap: stranger.wrap },
    { wrap: stranger.wrap, payload: stranger.payload },
    { payload: stranger.payload },
    { payload: second.payload },
    { wrap: second.wrap, payload: second.payload },
    { wrap: row.payload, payload: row.wrap },
    { wrap: Buffer.from(flipped(row.wrap)) },
    { payload: Buffer.from(flipped(row.payload)) },
    { wrap: Buffer.alloc(0) },
    { payload: Buffer.from('sk-plaintext-never-falls-back') },
  ]) {
    const attempt = async (): Promise<number> =>
      (await vault.prepare({ ...row, ...change })).openInto(Buffer.alloc(500), 0, place);
    await t.rejects(attempt(), { code: 'KEY_INVALID' }, Object.keys(change).join());
  }
  t.equal(alarms.length, 15, 'each told to the operator');
  t.match(alarms[0], { code: 'VAULT_WRONG_KEY', workspaceId: other, keyId: row.keyId });
  // The row that all these were made from still opens, cached or not.
  t.ok((await vault.prepare(row)).openInto(Buffer.alloc(500), 0, place) > 0);
});

t.test('tampered at any byte of the payload, a warm key refuses too', async (t) => {
  const { vault, newWorkspace, seal } = await testVault(t);
  const row = await seal({ workspaceId: await newWorkspace() });
  await vault.prepare(row);
  const into = Buffer.alloc(500);
  let refused = 0;
  for (let at = 0; at < row.payload.length; at += 1) {
    const payload = Buffer.from(row.payload);
    payload[at] = (payload[at] ?? 0) ^ 0x40;
    const attempt = async (): Promise<number> =>
      (await vault.prepare({ ...row, payload })).openInto(into, 0, place);
    await attempt().catch((error: { code: string }) => {
      if (error.code === 'KEY_INVALID') refused += 1;
    });
  }
  t.equal(refused, row.payload.length);
  t.ok(into.every((byte) => byte === 0));
});

t.test('a known provider’s key goes to its one origin, also when its payload names more', async (t) => {
  const { vault, database, newWorkspace, seal, text, time } = await testVault(t);
  const workspaceId = await newWorkspace();
  await t.rejects(seal({ workspaceId, origins: ['https://evil.example'] }), { code: 'KEY_ORIGIN' });
  await t.rejects(seal({ workspaceId, origins: ['https://api.openai.com', 'https://evil.example'] }), {
    code: 'KEY_ORIGIN',
  });
  const custom = await seal({
    workspaceId,
    provider: 'mine',
    origins: ['http://10.0.0.7:8000', 'https://b.example'],
  });
  for (const origin of ['http://10.0.0.7:8000', 'https://b.example']) {
    t.ok((await vault.prepare(custom)).openInto(Buffer.alloc(500), 0, { ...place, origin }) > 0);
  }
  // The operator has moved the provider since: the old origin, still in the payload, is out.
  const row = await seal({ workspaceId });
  const moved = await createVault({
    store: database.store,
    ring: parseKeyring(text, 'test'),
    clock: () => time.now,
    knownOrigins: () => 'https://proxy.internal',
  });
  t.teardown(() => moved.close());
  const prepared = await moved.prepare(row);
  for (const origin of ['https://api.openai.com', 'https://proxy.internal']) {
    t.throws(() => prepared.openInto(Buffer.alloc(500), 0, { ...place, origin }), { code: 'KEY_ORIGIN' });
  }
});

t.test('auth header:NAME and none', async (t) => {
  const { vault, newWorkspace, seal } = await testVault(t);
  const workspaceId = await newWorkspace();
  const origins = ['https://vllm.example'];
  const [origin] = origins as [string];
  const header = await vault.prepare(
    await seal({ workspaceId, provider: 'mine', auth: 'header:X-Api-Key', origins }),
  );
  t.ok(header.openInto(Buffer.alloc(500), 0, { origin, header: 'x-api-key' }) > 0);
  t.throws(() => header.openInto(Buffer.alloc(500), 0, { origin, header: 'authorization' }), {
    code: 'KEY_INVALID',
  });
  const none = await vault.prepare(
    await seal({ workspaceId, provider: 'mine', auth: 'none', secret: null, origins }),
  );
  t.doesNotThrow(() => none.checkOrigin(origin));
  t.throws(() => none.checkOrigin('https://evil.example'), { code: 'KEY_ORIGIN' });
  t.throws(() => none.openInto(Buffer.alloc(500), 0, { origin, header: 'authorization' }), {
    code: 'KEY_INVALID',
  });

  for (const name of [
    'host',
    'cookie',
    'content-length',
    'transfer-encoding',
    'connection',
    'x-forwarded-for',
    'x-sallyport-seal',
    'x-a\r\nhost',
    'x-',
    '',
  ]) {
    await t.rejects(
      seal({ workspaceId, provider: 'mine', auth: `header:${name}`, origins }),
      { code: 'REQUEST_INVALID' },
      name,
    );
  }
  await t.rejects(seal({ workspaceId, auth: 'none' }), { code: 'REQUEST_INVALID' });
  await t.rejects(seal({ workspaceId, secret: null }), { code: 'REQUEST_INVALID' });
  for (const bad of [
    'https://a.b/',
    'https://A.b',
    'https://a.b:443',
    'https://u@a.b',
    'ftp://a.b',
    'file:///x',
    'null',
    'a.b',
    '',
  ]) {
    await t.rejects(
      seal({ workspaceId, provider: 'mine', origins: [bad] }),
      { code: 'REQUEST_INVALID' },
      bad,
    );
  }
  await t.rejects(seal({ workspaceId, provider: 'mine', origins: [] }), { code: 'REQUEST_INVALID' });
  for (const secret of ['1234567', 'has white space', 'x'.repeat(8193), 'new\r\nline-line']) {
    await t.rejects(seal({ workspaceId, secret: Buffer.from(secret) }), { code: 'KEY_FORMAT' });
  }
  await t.rejects(vault.prepare({ ...(await seal({ workspaceId })), protection: 'sealed' }), {
    code: 'SEAL_REQUIRED',
  });
});

t.test('last four and fingerprint tell apart, and no more', async (t) => {
  const { vault, database, newWorkspace } = await testVault(t);
  const [workspaceId, other] = [await newWorkspace(), await newWorkspace()];
  const sealIn = (workspaceId: string, text: string) =>
    database.store.asWorkspace(workspaceId, (tx) =>
      vault.sealSecret(tx, {
        workspaceId,
        keyId: newId('key'),
        version: 1,
        provider: 'openai',
        auth: 'bearer',
        secret: Buffer.from(text),
        origins: ['https://api.openai.com'],
      }),
    );
  const [one, same, different] = [
    await sealIn(workspaceId, 'sk-aaaaaaaaaaaa-WXYZ'),
    await sealIn(workspaceId, 'sk-aaaaaaaaaaaa-WXYZ'),
    await sealIn(workspaceId, 'sk-bbbbbbbbbbbb-WXYZ'),
  ];
  t.equal(one.last4, 'WXYZ');
  t.match(one.fingerprint, /^[0-9a-f]{16}$/);
  t.equal(one.fingerprint, same.fingerprint);
  t.not(one.fingerprint, different.fingerprint);
  t.not(
    one.fingerprint,
    (await sealIn(other, 'sk-aaaaaaaaaaaa-WXYZ')).fingerprint,
    'not comparable across workspaces',
  );
  t.equal((await sealIn(workspaceId, 'fifteen-letters')).last4, null);
});

t.test('everything opens from sealed rows with the database gone', async (t) => {
  const { vault, database, newWorkspace, seal, restart, ring } = await testVault(t);
  const workspaceId = await newWorkspace();
  const row = await seal({ workspaceId });
  const verifier = await vault.verifierOf(workspaceId, 'spt_abcdefghijkl', 'gateway', 'secret');
  const rows = await database.store.asWorkspace(workspaceId, (tx) =>
    tx.selectFrom('workspace_keys').selectAll().execute(),
  );
  // A store of its own, to lose it without losing the test's.
  const store = openStore({ connection: database.connection });
  const [again, unprimed] = [await restart(ring, store), await restart(ring, store)];
  again.prime(
    rows.map((row) => ({
      workspaceId,
      version: row.version,
      rootKeyId: row.root_key_id,
      record: row.record,
    })),
  );
  await store.close();

  t.ok((await again.prepare(row)).openInto(Buffer.alloc(500), 0, place) > 0);
  t.ok(await again.checkVerifier(workspaceId, 'spt_abcdefghijkl', 'gateway', 'secret', verifier));
  await t.rejects(unprimed.prepare(row), { code: 'VAULT_SEALED', status: 503 }, 'what was never read is 503');
});

t.test('opened keys live 300 s at most, and unwraps run together once', async (t) => {
  const { database, newWorkspace, seal, time, ring } = await testVault(t);
  const workspaceId = await newWorkspace();
  const row = await seal({ workspaceId });
  const handedOut: Buffer[] = [];
  // The real ring, watched: how often it unwraps, and what becomes of the memory that it hands out.
  const watched: KekRing = {
    ...ring,
    unwrap: async (...args) => {
      const bytes = await ring.unwrap(...args);
      handedOut.push(bytes);
      return bytes;
    },
  };
  const { store } = database;
  const vault = await createVault({ store, ring: watched, clock: () => time.now, knownOrigins });
  t.teardown(() => vault.close());
  t.equal(handedOut.length, 1, 'the canary');

  const all = await Promise.all(Array.from({ length: 20 }, () => vault.workspaceKey(workspaceId)));
  t.equal(new Set(all).size, 1);
  t.equal(handedOut.length, 2);
  const prepared = await vault.prepare(row);
  time.now += 299_999;
  t.ok(prepared.openInto(Buffer.alloc(500), 0, place) > 0);
  await vault.workspaceKey(workspaceId);
  t.equal(handedOut.length, 2);
  time.now += 1;
  t.throws(() => prepared.openInto(Buffer.alloc(500), 0, place), { code: 'VAULT_SEALED' });
  t.ok((await vault.prepare(row)).openInto(Buffer.alloc(500), 0, place) > 0);
  t.equal(handedOut.length, 3);
  vault.forget(workspaceId);
  await vault.workspaceKey(workspaceId);
  t.equal(handedOut.length, 4);
  t.ok(
    handedOut.every((bytes) => bytes.length === 32 && bytes.every((byte) => byte === 0)),
    'all wiped',
  );
});

t.test('a key forgotten while it was being opened does not come back', async (t) => {
  const { database, newWorkspace, ring, time } = await testVault(t);
  const workspaceId = await newWorkspace();
  const gate = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  let unwraps = 0;
  const slow: KekRing = {
    ...ring,
    unwrap: async (...args) => {
      unwraps += 1;
      if (unwraps === 2) {
        asked.resolve();
        await gate.promise;
      }
      return ring.unwrap(...args);
    },
  };
  const vault = await createVault({ store: database.store, ring: slow, clock: () => time.now, knownOrigins });
  t.teardown(() => vault.close());
  const opening = vault.workspaceKey(workspaceId);
  await asked.promise;
  vault.forget(workspaceId);
  gate.resolve();
  await opening;
  await vault.workspaceKey(workspaceId);
  t.equal(unwraps, 3);
});

t.test('verifiers: only the same workspace, prefix, kind and secret pass', async (t) => {
  const { vault, newWorkspace, restart } = await testVault(t);
  const [workspaceId, other] = [await newWorkspace(), await newWorkspace()];
  const token = [workspaceId, 'spt_abcdefghijkl', 'gateway', 'x'.repeat(43)] as const;
  const verifier = await vault.verifierOf(...token);
  t.equal(verifier.length, 32);
  t.ok(await (await restart()).checkVerifier(...token, verifier), 'after a restart too');
  for (const [index, value] of [other, 'spt_abcdefghijkm', 'admin', 'y'.repeat(43)].entries()) {
    const changed = token.with(index, value) as unknown as typeof token;
    t.notOk(await vault.checkVerifier(...changed, verifier));
  }
  for (const length of [0, 31, 33]) t.notOk(await vault.checkVerifier(...token, Buffer.alloc(length)));
  // Shifting a letter from one field to the next makes other bytes.
  const [a, b] = await Promise.all([
    vault.verifierOf(workspaceId, 'ab', 'k', 'c'),
    vault.verifierOf(workspaceId, 'a', 'k', 'bc'),
  ]);
  t.notOk(a.equals(b));
  await t.rejects(vault.verifierOf(newId('ws'), 'p', 'k', 's'), { code: 'KEY_INVALID' }, 'no such workspace');
});

t.test('an address is marked under its user’s salt of the month, and its network under none', async (t) => {
  const [one, two] = [await testVault(t), await testVault(t)];
  const turnMs = Date.UTC(2026, 11, 1);
  one.time.now = turnMs - 1000;
  const saltOf = (month: string, userId = 'usr_a') => ({ userId, month, salt: randomBytes(32) });
  const addressSalts = [saltOf('2026-11-01'), saltOf('2026-12-01')];
  const ours = { workspaceId: 'ws_a', addressSalts };
  const mark = (ip: string, owner: AddressOwner = ours) => one.vault.markClient(ip, owner);
  const marks = mark('192.0.2.1');
  t.match(marks, { clientIpHash: /^[0-9a-f]{32}$/, network: /^[0-9a-f]{32}$/ });
  t.not(marks.network, marks.clientIpHash);
  t.strictSame(mark('192.0.2.1'), marks);
  t.strictSame((await one.restart()).markClient('192.0.2.1', ours), marks, 'the same after a restart');
  for (const written of ['::ffff:192.0.2.1', '::FFFF:c000:0201', '0:0:0:0:0:ffff:192.0.2.1'])
    t.strictSame(mark(written), marks, written);

  // The salt alone, which stands in the database, is not enough.
  two.time.now = one.time.now;
  const other = two.vault.markClient('192.0.2.1', ours);
  t.not(other.clientIpHash, marks.clientIpHash);
  t.not(other.network, marks.network);
  // Nor is the key: with another salt, or with the same one under another's name, it is another hash.
  const [november] = addressSalts as [AddressSalt, AddressSalt];
  for (const salt of [saltOf('2026-11-01'), { ...november, userId: 'usr_b' }])
    t.not(mark('192.0.2.1', { ...ours, addressSalts: [salt] }).clientIpHash, marks.clientIpHash);

  t.equal(mark('192.0.2.254').network, marks.network, 'the same /24');
  t.not(mark('192.0.2.254').clientIpHash, marks.clientIpHash);
  t.not(mark('192.0.3.1').network, marks.network);
  t.not(mark('192.0.2.1', { workspaceId: 'ws_b' }).network, marks.network, 'nobody compares workspaces');
  t.not(mark('192.0.2.1', { workspaceId: null }).network, marks.network);

  // Privacy addresses (RFC 8981) change the lower half only.
  const home = mark('2001:db8:7:1::1');
  t.equal(mark('2001:DB8:7:ffff:a:b:c:d%eth0').network, home.network, 'the same /48');
  t.not(mark('2001:db8:8:1::1').network, home.network);
  t.strictSame(mark('2001:0db8:0007:0001:0:0:0:1'), home);

  // Of a stranger, and of a user whose salts are gone, under a salt that nobody keeps.
  const stranger = mark('192.0.2.1', { workspaceId: null });
  t.strictSame(mark('192.0.2.1', { workspaceId: null }), stranger);
  t.not(
    (await one.restart()).markClient('192.0.2.1', { workspaceId: null }).clientIpHash,
    stranger.clientIpHash,
  );

  one.time.now = turnMs;
  const december = mark('192.0.2.1');
  t.not(december.clientIpHash, marks.clientIpHash, 'another month, another salt');
  t.equal(december.network, marks.network);
  one.time.now = Date.UTC(2027, 0, 1);
  t.not(mark('192.0.2.1').clientIpHash, december.clientIpHash);
});

t.test('a workspace’s key is usable in the transaction that makes it, and gone with it', async (t) => {
  const { vault, database } = await testVault(t);
  const id = newId('ws');
  const attempt = database.store.asWorkspace(id, async (tx) => {
    await tx.insertInto('workspaces').values({ id, name: 'w' }).execute();
    await vault.createWorkspaceKey(tx, id);
    t.equal((await vault.rowMac(id, 'tokens', ['a'])).length, 32);
    throw new Error('rolled back');
  });
  await t.rejects(attempt, { message: 'rolled back' });
  t.strictSame(await countSealed(database.store), { workspaceKeys: 0, hasDeployment: true });
});

t.test('sealing reads the workspace key in its own transaction: one connection is enough', async (t) => {
  const { database, newWorkspace, restart, ring } = await testVault(t);
  const workspaceId = await newWorkspace();
  const store = openStore({ connection: database.connection, maxConnections: 1, deadlineMs: 5_000 });
  t.teardown(() => store.close());
  const vault = await restart(ring, store);
  const input = { workspaceId, keyId: newId('key'), version: 1, provider: 'openai', auth: 'bearer' } as const;
  const origins = ['https://api.openai.com'];
  const sealed = await store.asWorkspace(workspaceId, (tx) =>
    vault.sealSecret(tx, { ...input, secret: newSecret(), origins }),
  );
  t.equal(sealed.workspaceKeyVersion, 1);
});
