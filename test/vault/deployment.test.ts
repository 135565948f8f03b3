import t from 'tap';
import { newId } from '../../src/ids.ts';
import { countSealed } from '../../src/vault/deployment.ts';
import { rewrap } from '../../src/vault/keyring-rewrap.ts';
import { inState, keyringText, newLocalKey, readKeyringText } from '../../src/vault/keyring-text.ts';
import { newKeyringText, parseKeyring, type KekRing } from '../../src/vault/keyring.ts';
import { testVault } from './test-vault.ts';

t.test('start-up refuses a ring that does not fit, and leaves the database untouched', async (t) => {
  const { database, ring, newWorkspace, restart, vault } = await testVault(t);
  const snapshot = async (): Promise<string> =>
    JSON.stringify(
      await database.store.asSystem(async (tx) => [
        await tx.selectFrom('deployment').selectAll().execute(),
        await tx.selectFrom('workspace_keys').selectAll().orderBy('workspace_id').execute(),
      ]),
    );
  const before = await snapshot();
  const strange = parseKeyring(newKeyringText(), 'test');
  await t.rejects(restart(strange), {
    code: 'CONFIG_INVALID',
    message: new RegExp(`${vault.deploymentId} opens under none of ${strange.active().id}`),
  });
  t.equal(await snapshot(), before);

  await newWorkspace();
  const withKeys = await snapshot();
  await t.rejects(restart(strange), {
    code: 'CONFIG_INVALID',
    message: new RegExp(`not in the ring: ${ring.active().id}`),
  });
  t.equal(await snapshot(), withKeys);
  t.equal((await restart()).deploymentId, vault.deploymentId, 'the right ring still fits');
});

t.test('start-up refuses another deployment id, a damaged canary and a missing deployment', async (t) => {
  const { database, newWorkspace, restart, vault } = await testVault(t);
  await newWorkspace();
  const { canary } = await database.store.asSystem((tx) =>
    tx.selectFrom('deployment').select('canary').executeTakeFirstOrThrow(),
  );
  const set = (change: { id?: string; canary?: Buffer }): Promise<unknown> =>
    database.store.asSystem((tx) => tx.updateTable('deployment').set(change).execute());
  await set({ id: newId('dep') });
  await t.rejects(restart(), { code: 'CONFIG_INVALID', message: /another deployment/ });
  await set({ id: vault.deploymentId, canary: Buffer.from(canary).fill('XXXX', 0, 4) });
  await t.rejects(restart(), { code: 'CONFIG_INVALID', message: /damaged/ });
  await set({ canary });
  t.equal((await restart()).deploymentId, vault.deploymentId);
  await database.owner('delete from deployment');
  await t.rejects(restart(), { code: 'CONFIG_INVALID', message: /no deployment/ });
  t.strictSame(await countSealed(database.store), { workspaceKeys: 1, hasDeployment: false });
});

t.test('two gateways that found a deployment at once agree on one', async (t) => {
  const { database, restart, text } = await testVault(t);
  await database.owner('delete from deployment');
  const vaults = await Promise.all([1, 2, 3, 4].map(() => restart(parseKeyring(text, 'test'))));
  t.equal(new Set(vaults.map(({ deploymentId }) => deploymentId)).size, 1);
  t.equal(
    new Set(vaults.map((vault) => vault.markClient('192.0.2.1', { workspaceId: 'ws_a' }).network)).size,
    1,
  );
});

t.test('a staged or old root key stays usable beside the active one', async (t) => {
  const { text, restart, newWorkspace, seal } = await testVault(t);
  const workspaceId = await newWorkspace();
  const row = await seal({ workspaceId });
  const { keys } = JSON.parse(text) as { keys: object[] };
  const { keys: fresh } = JSON.parse(newKeyringText()) as { keys: object[] };
  const rotated = JSON.stringify({
    keys: [...fresh, ...keys.map((key) => ({ ...key, state: 'decrypt_only' }))],
  });
  t.ok(
    (await (await restart(parseKeyring(rotated, 'test'))).prepare(row)).openInto(Buffer.alloc(500), 0, {
      origin: 'https://api.openai.com',
      header: 'authorization',
    }) > 0,
  );
});

t.test(
  'rows of another deployment open nothing under our ring, even where both have the same root key',
  async (t) => {
    const ours = await testVault(t);
    const theirs = await testVault(t, async () => parseKeyring(ours.text, 'the same file on both'));
    const workspaceId = await theirs.newWorkspace();
    const row = await theirs.seal({ workspaceId });
    const stolen = await theirs.database.store.asSystem((tx) =>
      tx.selectFrom('workspace_keys').selectAll().where('workspace_id', '=', workspaceId).execute(),
    );
    await ours.database.store.asWorkspace(workspaceId, async (tx) => {
      await tx.insertInto('workspaces').values({ id: workspaceId, name: 'moved here' }).execute();
      await tx.insertInto('workspace_keys').values(stolen).execute();
    });
    await t.rejects(ours.vault.prepare(row), { code: 'KEY_INVALID' });
    t.match(ours.alarms, [{ code: 'VAULT_TAMPERED', workspaceId }]);
    t.match(
      await rewrap(
        {
          store: ours.database.store,
          ring: rotatedRing(ours.text),
          deploymentId: ours.vault.deploymentId,
        },
        new AbortController().signal,
      ),
      { failed: 1, remaining: 1 },
      'nor does a rewrap make it ours',
    );
  },
);

function rotatedRing(text: string): KekRing {
  const keys = readKeyringText(text, 'test').map((key) => inState(key, 'decrypt_only'));
  return parseKeyring(keyringText([...keys, newLocalKey('active')]), 'test');
}
