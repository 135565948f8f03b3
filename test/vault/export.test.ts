import { createHash, randomBytes, randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import t from 'tap';
import { refill } from '../../src/db/refill.ts';
import { foundingTables, withSnapshot } from '../../src/db/snapshot.ts';
import type { Store } from '../../src/db/store.ts';
import { ageBytes, openWithIdentities } from '../../src/vault/age.ts';
import { createExport } from '../../src/vault/export.ts';
import { checkExport, readHeader, writeExport } from '../../src/vault/import.ts';
import { newKeyringText, parseKeyring, type KekRing } from '../../src/vault/keyring.ts';
import { sealPublicKeyOf } from '../../src/vault/seal-pair.ts';
import { createVault } from '../../src/vault/vault.ts';
import { testDatabase } from '../support/database.ts';
import { startGateway } from '../support/gateway.ts';

const origin = 'https://api.openai.com';
const secret = `sk-${randomBytes(24).toString('hex')}`;
const gateway = await startGateway(t);
const keyId = await gateway.addKey('openai', secret);
const otherKeyId = await gateway.addKey('openai', `${secret}-other`, { name: 'other' });
const seal = await gateway.api('POST', '/seals', {
  name: 'mine',
  publicKey: sealPublicKeyOf(randomBytes(32)).toString('base64url'),
});
await gateway.addKey('openai', `${secret}-sealed`, {
  name: 'sealed',
  protection: 'sealed',
  sealId: seal.body.id,
});
// One of every other kind of row, with each column that a MAC covers.
const { body: derived } = await gateway.api('POST', '/seals', {
  name: 'of a passphrase',
  publicKey: sealPublicKeyOf(randomBytes(32)).toString('base64url'),
  derivation: {
    type: 'argon2id',
    salt: randomBytes(16).toString('base64url'),
    memoryKiB: 65_536,
    passes: 3,
    parallelism: 1,
  },
});
const { body: member } = await gateway.api('POST', '/users', { name: 'ann' });
const expiresAt = '2097-12-31T23:59:59.999Z';
await gateway.addKey('custom', `${secret}-custom`, {
  name: 'own-models',
  origins: ['https://models.example.com'],
  auth: 'header:x-api-key',
  sharedWith: [member.id],
  weight: 2,
  streamUsage: true,
  expiresAt,
});
await gateway.addKey('openai', `sk-admin-${secret.slice(3)}`, { name: 'of the account' });
const { body: token } = await gateway.api('POST', '/tokens', {
  name: 'with all that it may have',
  providers: ['openai'],
  models: ['gpt-4o'],
  keyIds: [keyId],
  endpoints: ['openai.*'],
  networks: ['10.0.0.0/8'],
  tags: ['batch'],
  policy: { maxAttempts: 5 },
  expiresAt,
});
const { body: revoked } = await gateway.api('POST', '/tokens', { name: 'revoked' });
const made = await Promise.all([
  gateway.api('DELETE', `/tokens/${revoked.id}`),
  gateway.api('POST', '/aliases', { alias: 'fast', target: 'openai/gpt-4o' }),
  gateway.api('POST', '/prices', { provider: 'openai', model: 'x', prices: { input: '2' } }),
  gateway.api('POST', '/webhooks', { url: 'https://93.184.216.34/hook' }),
]);
const { signingKeys } = gateway.installation.vault;
const [firstSigner, signer] = [await signingKeys.make(), await signingKeys.make()];
await signingKeys.keep(firstSigner, 'first', null);
await signingKeys.keep(signer, 'second', firstSigner.id);
await gateway.shipped();
const ring = parseKeyring(
  readFileSync(path.join(path.dirname(gateway.journalDir), 'keyring.json'), 'utf8'),
  'test',
);

async function exported(recipients: readonly string[] = []): Promise<Buffer> {
  return withSnapshot(gateway.database.connection, async (snapshot) => {
    const made = await createExport({ snapshot, ring, recipients, clock: Date.now, version: 'test' });
    const parts: Buffer[] = [];
    for await (const part of made.lines()) parts.push(part);
    return Buffer.concat(parts);
  });
}

/** As a file gives them. */
function linesOf(bytes: Buffer) {
  return async function* () {
    for (const line of bytes.toString('latin1').split('\n'))
      if (line !== '') yield Buffer.from(line, 'latin1');
  };
}

async function imported(bytes: Buffer, source: KekRing, target: KekRing) {
  const database = await testDatabase(t);
  const checked = await checkExport(linesOf(bytes), source);
  await refill(database.connection, (into) => writeExport(linesOf(bytes), checked, { source, target }, into));
  return database;
}

/** The stored key, opened as a call would; the signing key opens, too. */
async function openedKey(store: Store, ring: KekRing): Promise<string> {
  const vault = await createVault({
    store,
    ring,
    clock: Date.now,
    knownOrigins: () => origin,
    isAdministrative: () => false,
  });
  t.teardown(() => vault.close());
  t.ok((await vault.signingKeys.active())?.publicKey.equals(signer.publicKey));
  const row = await store.asSystem((tx) =>
    tx
      .selectFrom('provider_keys as key')
      .innerJoin('provider_key_versions as version', 'version.key_id', 'key.id')
      .selectAll()
      .where('key.id', '=', keyId)
      .executeTakeFirstOrThrow(),
  );
  const prepared = await vault.prepare({
    workspaceId: row.workspace_id,
    keyId,
    version: row.version,
    provider: row.provider,
    protection: row.protection,
    workspaceKeyVersion: row.workspace_key_version,
    wrap: row.wrap,
    payload: row.payload,
    auth: row.auth,
    sealId: null,
    sealPublicKey: null,
  });
  const into = Buffer.alloc(prepared.maxBytes);
  return into.toString('latin1', 0, prepared.openInto(into, 0, { origin, header: 'authorization' }));
}

const refused = { code: 'CONFLICT' };

t.test('an export holds every record and no secret, and founds the same deployment elsewhere', async (t) => {
  const bytes = await exported();
  for (const clear of [secret, gateway.token, gateway.adminToken])
    for (const form of [
      clear,
      Buffer.from(clear).toString('hex'),
      Buffer.from(clear).toString('base64').slice(0, 40),
    ])
      t.notOk(bytes.includes(form));
  const { counts, journal } = JSON.parse(bytes.toString('utf8').split('\n').at(-3) ?? '').manifest;
  t.match(
    [token, derived, made],
    [{ id: /^tok_/ }, { derivation: { passes: 3 } }, made.map(() => ({ status: /20[01]/ }))],
  );
  for (const table of foundingTables) t.ok(counts[table] > 0, `one of ${table} at least`);
  t.match(journal[0], { stream: /^node_/, headHash: /^[0-9a-f]{64}$/ });

  const { connection, owner, store } = await imported(bytes, ring, ring);
  for (const table of foundingTables) {
    const rows = (from: Store) =>
      from.asSystem(async (tx) =>
        (
          await tx
            .selectFrom(table as 'users')
            .selectAll()
            .execute()
        )
          .map((row) => JSON.stringify(row))
          .toSorted(),
      );
    t.same(await rows(store), await rows(gateway.database.store), table);
  }
  t.equal(await openedKey(store, ring), secret);
  await t.rejects(
    refill(connection, async () => {}),
    { ...refused, message: /holds a deployment already/ },
    'not twice',
  );
  const [grant] = await owner<{ may: boolean }>(
    `select has_table_privilege('sallyport_system', 'provider_keys', 'insert') as may`,
  );
  t.same(grant, { may: false }, 'the right to insert everywhere was for the import alone');
});

t.test(
  'a portable export opens with the age identity alone, and takes another ring’s root key',
  async (t) => {
    const identity = await generateX25519Identity();
    const bytes = await exported([await identityToRecipient(identity)]);
    const { rootKeyIds, transport } = await readHeader(linesOf(bytes));
    t.same(rootKeyIds, [transport?.rootKeyId]);
    const age = ageBytes(transport?.age ?? '');
    await t.rejects(openWithIdentities(await generateX25519Identity(), age), refused, 'another identity');
    const text = Buffer.from(await openWithIdentities(`# mine\n${identity}\n`, age)).toString('utf8');
    const source = parseKeyring(text, 'test');
    const target = parseKeyring(newKeyringText(), 'test');
    await t.rejects(
      checkExport(linesOf(bytes), ring),
      { code: 'CONFIG_INVALID' },
      'the old ring opens none of it',
    );
    const { owner, store } = await imported(bytes, source, target);
    const [row] = await owner<{ count: number }>('select 1 as count from kysely_migration limit 1');
    t.ok(row);
    t.equal(await openedKey(store, target), secret);
    await t.rejects(openedKey(store, ring), { code: 'CONFIG_INVALID' });
    await t.rejects(exported(['age1wrong']), { code: 'REQUEST_INVALID' });
  },
);

t.test('a file that was changed in any place is refused before anything is written', async (t) => {
  const bytes = await exported();
  const check = (changed: Buffer) => checkExport(linesOf(changed), ring);
  for (let round = 0; round < 150; round += 1) {
    const at = randomInt(bytes.length);
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ (1 << randomInt(8));
    // A line break at the very end is not in what is read.
    if (at === bytes.length - 1) continue;
    await t.rejects(check(changed), { code: /CONFLICT|CONFIG_INVALID/ }, `byte ${at}`);
  }
  const lines = bytes.toString('latin1').trimEnd().split('\n');
  const joined = (parts: readonly (string | undefined)[]): Buffer =>
    Buffer.from(`${parts.join('\n')}\n`, 'latin1');
  const token = lines.findIndex((line) => line.startsWith('{"t":"tokens"'));
  await t.rejects(check(joined(lines.slice(0, -1))), { ...refused, message: /ends too early/ });
  await t.rejects(check(joined([...lines, lines.at(-1)])), { ...refused, message: /goes on behind its end/ });
  await t.rejects(check(joined([lines[0], ...lines])), { ...refused, message: /two headers/ });
  await t.rejects(check(joined(lines.toSpliced(token, 1))), refused, 'a row is missing');
  await t.rejects(check(joined(lines.toSpliced(token, 0, lines[token] ?? ''))), refused, 'a row twice');
  await t.rejects(check(joined(lines.toReversed())), refused);
  await t.rejects(check(Buffer.from('{}\n')), refused);
  await t.rejects(check(Buffer.alloc(0)), refused);
  await t.rejects(check(Buffer.from(`{"t":"tokens","r":${' '.repeat(1024 * 1024)}{}}\n`)), {
    ...refused,
    message: /too long/,
  });

  // Whoever cannot open the canary can't vouch for a list of members that he has changed.
  const forged = lines.slice(0, -1).map((line) => line.replace('"role": "owner"', '"role": "admin"'));
  t.notSame(forged, lines.slice(0, -1));
  const digest = createHash('sha256').update(joined(forged)).digest('hex');
  const end = JSON.stringify({ ...JSON.parse(lines.at(-1) ?? ''), sha256: digest });
  await t.rejects(check(joined([...forged, end])), { ...refused, message: /not what was exported/ });
});

t.test('another ring opens none of it, and says which root key is wanted', async (t) => {
  const bytes = await exported();
  await t.rejects(checkExport(linesOf(bytes), parseKeyring(newKeyringText(), 'test')), {
    code: 'CONFIG_INVALID',
    message: /keyring does not fit/,
  });
});

t.test('a file that is exchanged between the two readings leaves nothing behind', async (t) => {
  const bytes = await exported();
  const checked = await checkExport(linesOf(bytes), ring);
  const { connection, store } = await testDatabase(t);
  const other = Buffer.from(bytes.toString('latin1').replace('"role": "owner"', '"role": "admin"'), 'latin1');
  await t.rejects(
    refill(connection, (into) => writeExport(linesOf(other), checked, { source: ring, target: ring }, into)),
    { ...refused, message: /changed while it was imported/ },
  );
  t.same(await store.asSystem((tx) => tx.selectFrom('workspaces').selectAll().execute()), []);
});

t.test('rows that somebody edited in the database are named, and not imported', async (t) => {
  const { owner } = gateway.database;
  // As whoever has the database's own password would.
  const edit = async (role: string, sql: string): Promise<void> => {
    const scope = `select set_config('sallyport.workspace', '${gateway.workspaceId}', true)`;
    await owner(`begin; set local role sallyport_${role}; ${scope}; ${sql}; commit`);
  };
  const refusal = async (message: RegExp): Promise<unknown> =>
    t.rejects(checkExport(linesOf(await exported()), ring), { ...refused, message });

  const swap = (column: string) => `update provider_key_versions as one set ${column} = other.${column}
    from provider_key_versions as other
    where (one.key_id, other.key_id) in (('${keyId}', '${otherKeyId}'), ('${otherKeyId}', '${keyId}'))`;
  for (const column of ['payload', 'wrap']) {
    await edit('system', swap(column));
    await refusal(/row of provider_key_versions does not verify: key_/);
    await edit('system', swap(column));
  }
  await edit('app', `update provider_keys set base_path = base_path || '/x'`);
  await refusal(/row of provider_keys does not verify: key_/);
  await edit('app', `update provider_keys set base_path = left(base_path, -2)`);
  await edit('system', `update signing_keys set public_key = sha256(public_key) where retired_at is null`);
  await refusal(/row of signing_keys does not verify: sgn_/);
  await owner(`update signing_keys set public_key = decode('${signer.publicKey.toString('hex')}', 'hex')
    where retired_at is null`);
  await edit('app', `update seals set public_key = sha256(public_key)`);
  await refusal(/row of seals does not verify: seal_/);
  await edit('app', `update tokens set requests_per_minute = 0`);
  await refusal(/row of tokens does not verify: tok_/);
});
