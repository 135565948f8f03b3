import { randomBytes } from 'node:crypto';
import t from 'tap';
import { newId } from '../../src/ids.ts';
import { sealContext } from '../../src/vault/context.ts';
import { buildPayload } from '../../src/vault/payload.ts';
import { sealHpke } from '../../src/vault/seal-pair.ts';
import type { SealedKey } from '../../src/vault/vault.ts';
import { newSecret, testVault } from './test-vault.ts';

const place = { origin: 'https://api.openai.com', header: 'authorization' };

t.test('the life of a sealed key', async (t) => {
  const { vault, database, newWorkspace, seal, alarms } = await testVault(t);
  const workspaceId = await newWorkspace();
  const newSeal = () => {
    const secret = randomBytes(32);
    return { id: newId('seal'), publicKey: vault.sealPublicKeyOf(secret), secret };
  };
  const [mine, other] = [newSeal(), newSeal()];
  const inWorkspace = database.store.asWorkspace;
  async function opens(row: SealedKey, ikm: Uint8Array | null): Promise<string> {
    const prepared = await vault.prepare(row, ikm);
    const into = Buffer.alloc(prepared.maxBytes);
    return into.toString('latin1', 0, prepared.openInto(into, 0, place));
  }
  const secret = newSecret();
  const row = await seal({ workspaceId, secret, seal: mine });

  t.test('sealed by the gateway to a public key, it opens with the seal only', async (t) => {
    t.equal(await opens(row, mine.secret), secret.toString());
    await t.rejects(opens(row, null), { code: 'SEAL_REQUIRED' });
    await t.rejects(opens(row, other.secret), { code: 'SEAL_WRONG' });
    t.notOk(row.payload.includes(secret));
    await vault.checkWrap(row);
  });

  t.test('the row’s protection edited either way opens nothing', async (t) => {
    const plain = { protection: 'standard', sealId: null, sealPublicKey: null } as const;
    await t.rejects(opens({ ...row, ...plain }, null), { code: 'KEY_INVALID' });
    const standard = await seal({ workspaceId });
    const toMine = { protection: 'sealed', sealId: mine.id, sealPublicKey: mine.publicKey } as const;
    await t.rejects(opens({ ...standard, ...toMine }, mine.secret), { code: 'KEY_INVALID' });
    t.ok(alarms.length >= 2);
  });

  t.test('token A with seal B: each seal opens its own keys, in its own workspace', async (t) => {
    const elsewhere = await newWorkspace();
    const theirs = await seal({ workspaceId: elsewhere, seal: other });
    await t.rejects(opens(theirs, mine.secret), { code: 'SEAL_WRONG' });
    await t.rejects(opens(row, other.secret), { code: 'SEAL_WRONG' });
    // The same seal in two workspaces still opens no record of the one as the other's.
    const same = await seal({ workspaceId: elsewhere, seal: mine });
    for (const moved of [
      { ...row, workspaceId: elsewhere },
      { ...row, wrap: same.wrap, payload: same.payload },
      { ...same, wrap: row.wrap, payload: row.payload },
      { ...row, payload: same.payload },
    ])
      await t.rejects(opens(moved, mine.secret), { code: 'KEY_INVALID' });
  });

  t.test('a payload sealed by a client opens like any other, and shows nothing meanwhile', async (t) => {
    const head = {
      type: 'bearer',
      header: 'authorization',
      origins: [place.origin],
      createdAt: 'x',
    } as const;
    const own = newSecret();
    const at = { workspaceId, keyId: newId('key'), version: 1, provider: 'openai' };
    const aad = sealContext({ ...at, sealId: mine.id });
    const sealedPayload = sealHpke.seal(mine.publicKey, aad, buildPayload(head, own));
    const sealed = await inWorkspace(workspaceId, (tx) =>
      vault.sealClientPayload(tx, { ...at, sealedPayload }),
    );
    t.match(sealed, { last4: null, fingerprint: null });
    const key: SealedKey = {
      ...at,
      ...sealed,
      protection: 'sealed',
      sealId: mine.id,
      sealPublicKey: mine.publicKey,
      auth: 'bearer',
    };
    t.equal(await opens(key, mine.secret), own.toString());
    // A foreign origin is in the payload, where only its client could put it: a known provider's key goes to the one origin still.
    const evil = buildPayload({ ...head, origins: ['https://evil.example', place.origin] }, own);
    const toEvil = await inWorkspace(workspaceId, (tx) =>
      vault.sealClientPayload(tx, { ...at, sealedPayload: sealHpke.seal(mine.publicKey, aad, evil) }),
    );
    const prepared = await vault.prepare({ ...key, ...toEvil }, mine.secret);
    const into = Buffer.alloc(500);
    t.throws(() => prepared.openInto(into, 0, { ...place, origin: 'https://evil.example' }), {
      code: 'KEY_ORIGIN',
    });
    t.ok(into.every((byte) => byte === 0));
  });

  t.test('a client’s payload of an impossible size is refused where it comes in', async (t) => {
    const at = { workspaceId, keyId: newId('key'), version: 1, provider: 'openai' };
    for (const length of [0, 1, 47, 48, 303, 305, 48 + 257, 65_436, 65_536, 65_537]) {
      await t.rejects(
        inWorkspace(workspaceId, (tx) =>
          vault.sealClientPayload(tx, { ...at, sealedPayload: randomBytes(length) }),
        ),
        { code: 'REQUEST_INVALID' },
        `${length} bytes`,
      );
    }
    const largest = randomBytes(48 + 255 * 256);
    await inWorkspace(workspaceId, (tx) => vault.sealClientPayload(tx, { ...at, sealedPayload: largest }));
  });

  t.test('sealed anew with both secrets, the old seal opens it no longer', async (t) => {
    const next = { version: 2 };
    const reseal = (old: Uint8Array, target = other) =>
      inWorkspace(workspaceId, (tx) => vault.reseal(tx, row, old, next, target));
    await t.rejects(reseal(other.secret), { code: 'SEAL_WRONG' }, 'the old secret');
    await t.rejects(
      reseal(mine.secret, { ...other, secret: mine.secret }),
      { code: 'SEAL_WRONG' },
      'the new one',
    );
    const standard = await seal({ workspaceId });
    await t.rejects(
      inWorkspace(workspaceId, (tx) => vault.reseal(tx, standard, mine.secret, next, other)),
      { code: 'REQUEST_INVALID' },
    );
    const sealed = await reseal(mine.secret);
    const anew = { ...row, ...next, ...sealed, sealId: other.id, sealPublicKey: other.publicKey };
    t.equal(await opens(anew, other.secret), secret.toString());
    await t.rejects(opens(anew, mine.secret), { code: 'SEAL_WRONG' });
    t.equal(await opens(row, mine.secret), secret.toString(), 'the old version, for calls in flight');
    await t.rejects(opens({ ...anew, version: 1 }, other.secret), { code: 'KEY_INVALID' });
  });

  t.test('nothing is sealed to a point that everybody knows the secret of', async (t) => {
    await t.rejects(seal({ workspaceId, seal: { id: mine.id, publicKey: Buffer.alloc(32) } }), {
      code: 'REQUEST_INVALID',
    });
  });

  t.test('a sealed key whose wrap does not open is told without its seal', async (t) => {
    const wrap = Buffer.from(row.wrap);
    wrap[90] = (wrap[90] ?? 0) ^ 1;
    await t.rejects(vault.checkWrap({ ...row, keyId: newId('key'), wrap }), { code: 'KEY_INVALID' });
  });
});

t.test('a key that comes with the call goes out by the same checks', async (t) => {
  const { vault, newWorkspace, seal, database } = await testVault(t);
  const workspaceId = await newWorkspace();
  const secret = newSecret();
  const given = { workspaceId, provider: 'openai', auth: 'bearer', origins: [place.origin], secret };
  const prepared = await vault.prepareGiven(given);
  const into = Buffer.alloc(prepared.maxBytes + 3);
  t.equal(prepared.openInto(into, 3, place), secret.length);
  t.ok(into.subarray(3).equals(secret));
  into.fill(0);

  const stored = await database.store.asWorkspace(workspaceId, (tx) =>
    vault.sealSecret(tx, { ...given, auth: 'bearer', keyId: newId('key'), version: 1 }),
  );
  t.equal(prepared.fingerprint, stored.fingerprint, 'the one of the same key, stored');
  t.equal(await vault.fingerprintOf(workspaceId, secret), stored.fingerprint);
  t.not(await vault.fingerprintOf(await newWorkspace(), secret), stored.fingerprint);
  t.ok(await seal({ workspaceId, secret }));

  const open = (at: Partial<typeof place>) => () => prepared.openInto(into, 0, { ...place, ...at });
  t.throws(open({ origin: 'https://evil.example' }), { code: 'KEY_ORIGIN' });
  t.throws(open({ header: 'x-api-key' }), { code: 'KEY_INVALID' });
  t.throws(() => prepared.openInto(Buffer.alloc(10), 0, place), { code: 'KEY_INVALID' }, 'no room');
  t.throws(() => prepared.checkOrigin(place.origin), { code: 'KEY_INVALID' });
  const moved = await vault.prepareGiven({ ...given, origins: ['https://evil.example'] });
  t.throws(() => moved.openInto(into, 0, { ...place, origin: 'https://evil.example' }), {
    code: 'KEY_ORIGIN',
  });
  t.ok(into.every((byte) => byte === 0));

  for (const text of [
    '1234567',
    'has white space',
    'new\r\nline-line',
    'nul\0nul-nul',
    'x'.repeat(8193),
    'spt_0123456789',
  ]) {
    const error = await vault
      .prepareGiven({ ...given, secret: Buffer.from(text) })
      .catch((error: unknown) => error);
    t.match(error, { code: 'KEY_FORMAT' });
    t.notOk(String(error).includes(text.slice(0, 7)), 'never echoed');
  }
  for (const auth of ['none', 'odd'])
    await t.rejects(vault.prepareGiven({ ...given, auth }), { code: 'KEY_INVALID' });

  prepared.wipe();
  t.throws(open({}), { code: 'VAULT_SEALED' });
  const wiped = await vault.prepareGiven(given);
  secret.fill(0);
  t.throws(() => wiped.openInto(into, 0, place), { code: 'KEY_INVALID' }, 'its caller has wiped it already');
});

t.test('a standard key is prepared for one call too', async (t) => {
  const { vault, newWorkspace, seal } = await testVault(t);
  const prepared = await vault.prepare(await seal({ workspaceId: await newWorkspace() }));
  t.ok(prepared.openInto(Buffer.alloc(500), 0, place) > 0);
  prepared.wipe();
  t.throws(() => prepared.openInto(Buffer.alloc(500), 0, place), { code: 'VAULT_SEALED' });
});
