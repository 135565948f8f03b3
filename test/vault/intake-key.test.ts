import { createPublicKey, randomBytes } from 'node:crypto';
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import t from 'tap';
import { openStore } from '../../src/db/store.ts';
import { newId } from '../../src/ids.ts';
import { intakeContext } from '../../src/vault/context.ts';
import { createHpke } from '../../src/vault/hpke.ts';
import { inState, newLocalKey, readKeyringText, type RingKey } from '../../src/vault/keyring-text.ts';
import { type KekRing, newKeyringText, parseKeyring } from '../../src/vault/keyring.ts';
import type { IntakeKey } from '../../src/vault/vault.ts';
import { newSecret, testVault } from './test-vault.ts';

const hpke = createHpke('sallyport/v1/intake');
const hour = 3_600_000;
const at = { workspaceId: 'ws_1', provider: 'openai' };

function sealedValue(key: Pick<IntakeKey, 'id' | 'publicKey'>, value: Uint8Array, place = at): string {
  const sealed = hpke.seal(Buffer.from(key.publicKey, 'base64url'), intakeContext(place), value);
  return `${key.id}.${sealed.toString('base64url')}`;
}

t.test('a value sealed on its way here is taken, made by WebCrypto too', async (t) => {
  const { vault } = await testVault(t);
  const key = await vault.intakeKey();
  t.match(key, { id: /^ik_[0-9a-f]{32}$/, publicKey: /^[\w-]{43}$/ });
  t.equal(Date.parse(key.expiresAt) - Date.parse(key.createdAt), 48 * hour);
  const secret = newSecret();
  const opened = await vault.openIntake(sealedValue(key, secret), at);
  t.ok(opened.equals(secret));
  t.equal(opened.buffer.byteLength, secret.length, 'in memory of its own');

  const suite = new CipherSuite({
    kem: new DhkemX25519HkdfSha256(),
    kdf: new HkdfSha256(),
    aead: new Aes256Gcm(),
  });
  const raw = Uint8Array.from(Buffer.from(key.publicKey, 'base64url'));
  const { enc, ct } = await suite.seal(
    {
      recipientPublicKey: await suite.kem.deserializePublicKey(raw.buffer),
      info: new TextEncoder().encode('sallyport/v1/intake').buffer,
    },
    Uint8Array.from(secret).buffer,
    Uint8Array.from(intakeContext(at)).buffer,
  );
  const body = Buffer.concat([Buffer.from(enc), Buffer.from(ct)]).toString('base64url');
  t.ok((await vault.openIntake(`${key.id}.${body}`, at)).equals(secret));
});

t.test('what does not open is refused in words that hold nothing of it', async (t) => {
  const { vault, alarms } = await testVault(t);
  const key = await vault.intakeKey();
  const secret = newSecret();
  const good = sealedValue(key, secret);
  const body = good.slice(good.indexOf('.') + 1);
  const refused = async (text: string, code: string, place = at): Promise<void> => {
    const error = await vault.openIntake(text, place).catch((error: unknown) => error);
    t.match(error, { code }, text.slice(0, 60));
    if (body.length > 20 && String(error).includes(body.slice(10, 20))) t.fail('echoed');
  };
  await refused(good, 'REQUEST_INVALID', { ...at, workspaceId: 'ws_2' });
  await refused(good, 'REQUEST_INVALID', { ...at, provider: 'groq' });
  for (const text of [
    '',
    '.',
    key.id,
    `${key.id}.`,
    body,
    `.${body}`,
    `${newId('key')}.${body}`,
    `${key.id}.${body}=`,
    `${key.id}. ${body}`,
    `${key.id}.${body}\n`,
    `${key.id}.${'A'.repeat(16_384)}`,
    `${newId('ik')}.${body}`,
    `${key.id}.${body.slice(0, -4)}`,
    `${key.id}.${body}AAAA`,
    `${key.id}.AAAA`,
    `${key.id}.${Buffer.concat([Buffer.alloc(32), randomBytes(60)]).toString('base64url')}`,
  ])
    await refused(text, 'REQUEST_INVALID');
  const bytes = Buffer.from(body, 'base64url');
  for (let byte = 0; byte < bytes.length; byte += 1) {
    const changed = Buffer.from(bytes);
    changed[byte] = (changed[byte] ?? 0) ^ 1;
    await refused(`${key.id}.${changed.toString('base64url')}`, 'REQUEST_INVALID');
  }
  for (const text of [
    '',
    '1234567',
    'with space 1',
    'line\r\nbreak',
    'nul\0nul-nul',
    'sk-ümlaut',
    'x'.repeat(8193),
    'spt_0123456789',
  ])
    await refused(sealedValue(key, Buffer.from(text)), 'KEY_FORMAT');
  t.equal((await vault.openIntake(sealedValue(key, Buffer.from('x'.repeat(8192))), at)).length, 8192);
  t.strictSame(alarms, [], 'what a client sends is no break-in');
});

t.test('a new key each day, and yesterday’s is taken for one more', async (t) => {
  const { vault, time, database, restart } = await testVault(t);
  const first = await vault.intakeKey();
  const secret = newSecret();
  const value = sealedValue(first, secret);
  time.now += 23 * hour;
  t.equal((await vault.intakeKey()).id, first.id);
  time.now += hour;
  const second = await vault.intakeKey();
  t.not(second.id, first.id);
  t.not(second.publicKey, first.publicKey);
  t.equal((await vault.intakeKey()).id, second.id);
  time.now += 24 * hour - 1;
  t.ok((await vault.openIntake(value, at)).equals(secret), 'a day later still, warm or cold');
  t.ok((await (await restart()).openIntake(value, at)).equals(secret));
  time.now += 1;
  await t.rejects(vault.openIntake(value, at), { code: 'REQUEST_INVALID', fix: /intake-key/ });

  // Edited in the database, it is no younger: its age is in the id, which its record is bound to.
  await database.store.asSystem((tx) =>
    tx
      .updateTable('intake_keys')
      .set({ created_at: new Date(time.now), expires_at: new Date(time.now + 90 * 24 * hour) })
      .execute(),
  );
  await t.rejects((await restart()).openIntake(value, at), { code: 'REQUEST_INVALID' });
  const ids = (): Promise<string[]> =>
    database.store.asSystem(async (tx) =>
      (await tx.selectFrom('intake_keys').select('id').orderBy('id').execute()).map(({ id }) => id),
    );
  t.strictSame(await ids(), [first.id, second.id]);
  await database.store.asSystem((tx) =>
    tx
      .updateTable('intake_keys')
      .set({ expires_at: new Date(time.now - 1) })
      .where('id', '=', first.id)
      .execute(),
  );
  const third = await vault.intakeKey();
  t.strictSame(await ids(), [second.id, third.id], 'expired rows are cleared away');
});

t.test('nodes that start a day together make one key', async (t) => {
  const { vault, restart } = await testVault(t);
  const nodes = [vault, await restart(), await restart(), await restart()];
  const keys = await Promise.all(nodes.flatMap((node) => [node.intakeKey(), node.intakeKey()]));
  t.equal(new Set(keys.map(({ id }) => id)).size, 1);
  const [key] = keys as [IntakeKey];
  const secret = newSecret();
  for (const node of nodes) t.ok((await node.openIntake(sealedValue(key, secret), at)).equals(secret));
});

t.test('a public key exchanged in the database is found, not handed out, and replaced', async (t) => {
  const { vault, database, alarms, restart } = await testVault(t);
  const key = await vault.intakeKey();
  const thief = Buffer.from(
    createPublicKey({
      key: Buffer.concat([randomBytes(31), Buffer.alloc(1)]),
      format: 'raw-public',
      asymmetricKeyType: 'x25519',
    }).export({
      format: 'raw-public',
    }),
  );
  await database.store.asSystem((tx) => tx.updateTable('intake_keys').set({ public_key: thief }).execute());
  // The one that knows the key already, and one that reads it now.
  for (const node of [vault, await restart()]) {
    const shown = await node.intakeKey();
    t.not(shown.publicKey, thief.toString('base64url'));
    t.not(shown.id, key.id);
    const secret = newSecret();
    t.ok((await node.openIntake(sealedValue(shown, secret), at)).equals(secret));
  }
  t.match(alarms, [{ code: 'VAULT_TAMPERED', workspaceId: '', keyId: key.id }]);
  await t.rejects(vault.openIntake(sealedValue(key, newSecret()), at), { code: 'REQUEST_INVALID' });
});

t.test('a row of a thief’s own, a damaged record and one moved to another id are not used', async (t) => {
  const { vault, database, alarms, time, restart } = await testVault(t);
  const key = await vault.intakeKey();
  time.now += 1000;
  const forged = newId('ik', time.now);
  const pair = randomBytes(32);
  await database.store.asSystem(async (tx) => {
    const row = await tx.selectFrom('intake_keys').selectAll().executeTakeFirstOrThrow();
    const expires_at = new Date(time.now + 48 * hour);
    await tx
      .insertInto('intake_keys')
      .values({ ...row, id: forged, expires_at })
      .execute();
    await tx
      .insertInto('intake_keys')
      .values({ ...row, id: newId('ik', time.now), public_key: pair, record: randomBytes(132), expires_at })
      .execute();
  });
  const other = await restart();
  t.equal((await other.intakeKey()).id, key.id, 'the one that opens is handed out still');
  t.strictSame(alarms.map(({ code }) => code).toSorted(), ['VAULT_FORMAT', 'VAULT_TAMPERED']);
  await t.rejects(other.openIntake(sealedValue({ ...key, id: forged }, newSecret()), at), {
    code: 'REQUEST_INVALID',
  });
});

t.test('the private half lies under the root key, and another ring does not open it', async (t) => {
  const { vault, database, ring } = await testVault(t);
  await vault.intakeKey();
  const row = await database.store.asSystem((tx) =>
    tx.selectFrom('intake_keys').selectAll().executeTakeFirstOrThrow(),
  );
  t.equal(row.root_key_id, ring.active().id);
  t.equal(row.record.subarray(0, 6).toString('latin1'), 'SPR1\u0001\u0005');
  t.equal(row.record.length, 132);
  await t.rejects(
    parseKeyring(newKeyringText(), 'other').unwrap(row.root_key_id, 5, Buffer.alloc(0), row.record),
  );
});

t.test('out of reach is told as such: the database, and the root key', async (t) => {
  const { vault, database, restart, ring } = await testVault(t);
  const key = await vault.intakeKey();
  const value = sealedValue(key, newSecret());
  const gone = (): Promise<never> => Promise.reject(new Error('the service is away'));
  const away = await restart({
    ...ring,
    wrap: gone,
    unwrap: async (id, kind, context, blob) => (kind === 5 ? gone() : ring.unwrap(id, kind, context, blob)),
  });
  const rootKey = { code: 'VAULT_SEALED', message: /root key/ };
  await t.rejects(away.openIntake(value, at), rootKey);
  await t.rejects(away.intakeKey(), rootKey);
  const store = openStore({ connection: database.connection });
  const cut = await restart(ring, store);
  await store.close();
  const databaseGone = { code: 'VAULT_SEALED', fix: /database/ };
  await t.rejects(cut.openIntake(value, at), databaseGone);
  await t.rejects(cut.intakeKey(), databaseGone);
});

t.test(
  'a root key that is promoted and then away is told as the root key, in a transaction too',
  async (t) => {
    const { restart, ring, text } = await testVault(t);
    const [old] = readKeyringText(text, 'test') as readonly [RingKey];
    let wraps = 0;
    const vault = await restart({
      ...ring,
      async wrap(...args: Parameters<KekRing['wrap']>) {
        wraps += 1;
        if (wraps > 1) throw new Error('the service is away');
        const record = await ring.wrap(...args);
        ring.replace([inState(old, 'decrypt_only'), newLocalKey('active')]);
        return record;
      },
    });
    await t.rejects(vault.intakeKey(), { code: 'VAULT_SEALED', message: /root key/ });
    t.equal(wraps, 2);
  },
);
