import { createPublicKey, verify } from 'node:crypto';
import t from 'tap';
import { newKeyringText, parseKeyring } from '../../src/vault/keyring.ts';
import { inState, newLocalKey, readKeyringText, type RingKey } from '../../src/vault/keyring-text.ts';
import type { Signer } from '../../src/vault/signing-key.ts';
import { testVault } from './test-vault.ts';

const bytes = Buffer.from('sallyport/dep/1\n');

function isSigned(signer: Signer): boolean {
  const key = createPublicKey({ key: signer.publicKey, format: 'raw-public', asymmetricKeyType: 'ed25519' });
  return verify(null, bytes, key, signer.sign(bytes));
}

t.test('a signing key is made once, sealed under the root key, and signs after a restart', async (t) => {
  const { database, restart, ring, time, vault } = await testVault(t);
  t.equal(await vault.signingKeys.active(), null);
  const made = await vault.signingKeys.make();
  t.equal(await vault.signingKeys.active(), null, 'made is not kept');
  await vault.signingKeys.keep(made, 'introduction', null);
  const [row] = await database.owner<{ record: Buffer; root_key_id: string }>('select * from signing_keys');
  t.equal(row?.root_key_id, ring.active().id);
  const signer = (await (await restart()).signingKeys.active())!;
  t.ok(isSigned(signer));
  t.ok(signer.publicKey.equals(made.publicKey));
  t.match(await vault.signingKeys.list(), [
    { id: made.id, note: 'introduction', createdAt: new Date(time.now), retiredAt: null },
  ]);

  const stranger = await restart(parseKeyring(newKeyringText(), 'test')).catch((error: unknown) => error);
  t.match(stranger, { code: 'CONFIG_INVALID' });
});

t.test('a key that takes over leaves nothing of the private half before it', async (t) => {
  const { database, vault } = await testVault(t);
  const { signingKeys } = vault;
  const [first, second, third] = [
    await signingKeys.make(),
    await signingKeys.make(),
    await signingKeys.make(),
  ];
  await signingKeys.keep(first, 'first', null);
  await t.rejects(signingKeys.keep(second, 'second', null), { code: 'CONFLICT' }, 'not beside another');
  await t.rejects(signingKeys.keep(second, 'second', third.id), { code: 'CONFLICT' });
  const results = await Promise.allSettled([
    signingKeys.keep(second, 'second', first.id),
    signingKeys.keep(third, 'third', first.id),
  ]);
  t.same(results.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'], 'one of two');
  const active = (await signingKeys.active())!;
  t.not(active.id, first.id);
  t.ok(isSigned(active));
  const rows = await database.owner<{ id: string; record: Buffer | null; root_key_id: string | null }>(
    'select id, record, root_key_id from signing_keys order by created_at, id',
  );
  t.equal(rows.length, 2);
  t.same(
    rows.find(({ id }) => id === first.id),
    { id: first.id, record: null, root_key_id: null },
  );
});

t.test('a row that was changed signs nothing, and is an alarm', async (t) => {
  const changes = [
    `update signing_keys set public_key = decode(repeat('07', 32), 'hex')`,
    `update signing_keys set id = 'sgn_0'`,
    `update signing_keys set record = set_byte(record, 60, get_byte(record, 60) # 1)`,
  ];
  for (const change of changes) {
    const { alarms, database, restart, vault } = await testVault(t);
    await vault.signingKeys.keep(await vault.signingKeys.make(), 'introduction', null);
    await vault.signingKeys.active();
    await database.owner(change);
    const fresh = await restart();
    await t.rejects(fresh.signingKeys.active(), { code: 'KEY_INVALID' }, change);
    t.equal(alarms.length, 1, change);
  }
});

t.test('a key that was sealed under a root key which is no longer active is not kept', async (t) => {
  const { ring, text, vault } = await testVault(t);
  const made = await vault.signingKeys.make();
  const [old] = readKeyringText(text, 'test') as [RingKey];
  ring.replace([inState(old, 'decrypt_only'), newLocalKey('active')]);
  await t.rejects(vault.signingKeys.keep(made, 'introduction', null), { code: 'VAULT_SEALED' });
  t.equal(await vault.signingKeys.active(), null);
});
