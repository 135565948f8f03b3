import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import type { Store } from '../../src/db/store.ts';
import { newId } from '../../src/ids.ts';
import { rewrap, type RewrapProgress } from '../../src/vault/keyring-rewrap.ts';
import { surveyRootKeys } from '../../src/vault/keyring-survey.ts';
import {
  inState,
  keyringText,
  newLocalKey,
  readKeyringText,
  type RingKey,
} from '../../src/vault/keyring-text.ts';
import { parseKeyring, type KekRing } from '../../src/vault/keyring.ts';
import { startKms } from '../support/kms-fake.ts';
import { lockWaits } from '../support/lock-waits.ts';
import { startTransit } from '../support/transit-fake.ts';
import { addWorkspaces } from './many-workspaces.ts';
import { kmsKey, services, transitKey } from './root-key-services.ts';
import { testVault } from './test-vault.ts';

const place = { origin: 'https://api.openai.com', header: 'authorization' };
const forever = new AbortController().signal;

/** A database full of rows under an old key, and a ring whose active key is another. */
async function rotated(
  t: Test,
  count: number,
  fresh: RingKey = newLocalKey('active'),
  more?: Parameters<typeof services>[1],
) {
  const base = await testVault(t);
  const { database, vault, text, ring: before } = base;
  const { store } = database;
  const workspaces = await addWorkspaces({ store, ring: before, deploymentId: vault.deploymentId }, count);
  await vault.intakeKey();
  const [old] = readKeyringText(text, 'test') as readonly [RingKey];
  const keyring = keyringText([inState(old, 'decrypt_only'), fresh]);
  const ring = parseKeyring(keyring, 'test', services(t, more));
  const deps = { store, ring, deploymentId: vault.deploymentId };
  const uses = async () => Object.fromEntries(await surveyRootKeys(deps));
  return { ...base, deps, keyring, workspaces, uses, oldId: old.id, newId: fresh.id };
}

async function opensAll(t: Test, ring: KekRing, base: Awaited<ReturnType<typeof rotated>>): Promise<void> {
  const vault = await base.restart(ring);
  await Promise.all(base.workspaces.map((id) => vault.workspaceKey(id)));
  t.equal((await vault.intakeKey()).id, (await base.vault.intakeKey()).id, 'the intake key is the same');
}

t.test('everything under an old root key goes under the active one, and opens to the same', async (t) => {
  const base = await rotated(t, 300);
  const workspaceId = await base.newWorkspace();
  const row = await base.seal({ workspaceId });
  const signer = await base.vault.signingKeys.make();
  await base.vault.signingKeys.keep(signer, 'introduction', null);
  const told: RewrapProgress[] = [];
  const done = await rewrap({ ...base.deps, batchRows: 70, onProgress: (now) => told.push(now) }, forever);
  t.strictSame(
    done,
    { remaining: 0, rewrapped: 304, failed: 0 },
    '301 workspace keys, the intake key, the signing key, the canary',
  );
  t.strictSame(told[0], { remaining: 303, rewrapped: 0, failed: 0 });
  t.ok(told.length > 5, 'it tells how far it is');
  t.strictSame(await base.uses(), {
    [base.newId]: { workspaceKeys: 301, intakeKeys: 1, signingKeys: 1, canary: true },
  });
  // With the old key gone for good.
  base.deps.ring.replace([{ id: base.oldId, state: 'retired' }, ...keysOf(base.keyring).slice(1)]);
  await opensAll(t, base.deps.ring, base);
  const vault = await base.restart(base.deps.ring);
  t.ok((await vault.signingKeys.active())?.publicKey.equals(signer.publicKey));
  const ours = { workspaceId: 'ws_a' };
  t.equal(
    vault.markClient('192.0.2.1', ours).network,
    base.vault.markClient('192.0.2.1', ours).network,
    'the deployment’s key stays',
  );
  t.ok((await vault.prepare(row)).openInto(Buffer.alloc(500), 0, place) > 0);
  t.strictSame(
    await rewrap(base.deps, forever),
    { remaining: 0, rewrapped: 0, failed: 0 },
    'again: nothing to do',
  );
});

t.test('two runs at once do each row once, and end right', async (t) => {
  const base = await rotated(t, 400);
  const runs = await Promise.all(
    [60, 45, 100].map((batchRows) => rewrap({ ...base.deps, batchRows }, forever)),
  );
  t.equal(
    runs.reduce((sum, { rewrapped }) => sum + rewrapped, 0),
    402,
  );
  for (const run of runs) t.match(run, { remaining: 0, failed: 0 });
  await opensAll(t, base.deps.ring, base);
});

t.test(
  'a run that was killed in the middle leaves every row under one key or the other, and the next one ends it',
  async (t) => {
    const base = await rotated(t, 400);
    const child = spawn(process.execPath, [fileURLToPath(new URL('rewrap-child.ts', import.meta.url))], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const { database, keyring, vault } = base;
    child.stdin.end(
      JSON.stringify({ connection: database.connection, keyring, deploymentId: vault.deploymentId }),
    );
    let said = '';
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
      said += chunk.toString();
      if (/^[1-9]/m.test(said)) break;
    }
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    const left = (await base.uses())[base.oldId]?.workspaceKeys ?? 0;
    t.ok(left > 0 && left < 400, `${left} of 400 are left`);
    await opensAll(t, base.deps.ring, base);
    t.match(await rewrap(base.deps, forever), { remaining: 0, failed: 0 });
    t.strictSame(Object.keys(await base.uses()), [base.newId]);
    await opensAll(t, base.deps.ring, base);
  },
);

t.test('a row that does not open is left as it is and named, and the others go on', async (t) => {
  const base = await rotated(t, 60);
  const { store } = base.database;
  const [bad, moved, other] = base.workspaces as [string, string, string];
  const recordOf = (id: string) =>
    store.asSystem((tx) =>
      tx
        .selectFrom('workspace_keys')
        .select('record')
        .where('workspace_id', '=', id)
        .executeTakeFirstOrThrow(),
    );
  await setRecord(store, bad, Buffer.from((await recordOf(bad)).record).fill(0, 90, 91));
  await setRecord(store, moved, (await recordOf(other)).record);
  const named: string[] = [];
  const done = await rewrap({ ...base.deps, batchRows: 7, onFailed: (which) => named.push(which) }, forever);
  t.strictSame(done, { remaining: 2, rewrapped: 60, failed: 2 });
  t.strictSame(named.toSorted(), [`workspace_keys ${bad}`, `workspace_keys ${moved}`].toSorted());
});

t.test('a row that somebody else changed in between is not overwritten', async (t) => {
  const base = await rotated(t, 3);
  const { store } = base.database;
  const [first] = base.workspaces as [string];
  const changed = Buffer.alloc(132, 7);
  let isChanged = false;
  const deps = {
    ...base.deps,
    store: {
      // Between the reading and the writing of a batch.
      async asSystem<T>(work: Parameters<Store['asSystem']>[0]): Promise<T> {
        const result: unknown = await store.asSystem(work);
        if (!isChanged && (result as { rows?: unknown[] }).rows?.length === 3) {
          isChanged = true;
          await setRecord(store, first, changed);
        }
        return result as T;
      },
    } as Pick<Store, 'asSystem'>,
  };
  t.match(await rewrap(deps, forever), { remaining: 1 });
  const row = await store.asSystem((tx) =>
    tx.selectFrom('workspace_keys').selectAll().where('workspace_id', '=', first).executeTakeFirstOrThrow(),
  );
  t.ok(row.record.equals(changed));
  t.equal(row.root_key_id, base.oldId);
});

t.test('a run seals nothing more under a key that is no longer the active one', async (t) => {
  const base = await rotated(t, 3);
  const { store } = base.database;
  const { ring } = base.deps;
  let reads = 0;
  const deps = {
    ...base.deps,
    store: {
      // Sealed, and not written yet: the old key is promoted again, and the new one may be retired from now on.
      async asSystem<T>(work: Parameters<Store['asSystem']>[0]): Promise<T> {
        const result: unknown = await store.asSystem(work);
        if ((result as { rows?: unknown[] }).rows?.length === 3) {
          reads += 1;
          const [old, fresh] = keysOf(base.keyring) as [RingKey, RingKey];
          ring.replace([inState(old, 'active'), inState(fresh, 'decrypt_only')]);
        }
        return result as T;
      },
    } as Pick<Store, 'asSystem'>,
  };
  await t.rejects(rewrap(deps, forever), { code: 'CONFLICT', message: /no longer the active one/ });
  t.equal(reads, 1);
  t.strictSame(Object.keys(await base.uses()), [base.oldId], 'nothing is under the new one');
});

t.test(
  'a workspace and an intake key go under the root key that was promoted while they were made',
  async (t) => {
    const base = await testVault(t);
    const [old] = keysOf(base.text) as [RingKey];
    const next = newLocalKey('active');
    const { ring } = base;
    const vault = await base.restart({
      ...ring,
      // Promoted while a key service took its time.
      async wrap(...args: Parameters<KekRing['wrap']>) {
        const record = await ring.wrap(...args);
        ring.replace([inState(old, 'decrypt_only'), next]);
        return record;
      },
    });
    const id = newId('ws');
    const { store } = base.database;
    const deps = { store, ring, deploymentId: vault.deploymentId };
    const count = await store.asWorkspace(id, async (tx) => {
      await tx.insertInto('workspaces').values({ id, name: id }).execute();
      await vault.createWorkspaceKey(tx, id);
      const counting = surveyRootKeys(deps, { isExact: true });
      await lockWaits(store, ['workspace_keys'], 1);
      return { counting };
    });
    const use = { workspaceKeys: 0, intakeKeys: 0, signingKeys: 0, canary: false };
    const canary = { ...use, canary: true };
    t.strictSame(
      Object.fromEntries(await count.counting),
      { [old.id]: canary, [next.id]: { ...use, workspaceKeys: 1 } },
      'whoever would retire a key counts what is not committed yet',
    );
    ring.replace([old]);
    await vault.intakeKey();
    t.strictSame(Object.fromEntries(await surveyRootKeys(deps)), {
      [old.id]: canary,
      [next.id]: { ...use, workspaceKeys: 1, intakeKeys: 1 },
    });
  },
);

t.test('from a file to a Transit engine, and on to KMS; what one workspace is denied stays', async (t) => {
  const transit = await startTransit(t);
  const base = await rotated(t, 40, transitKey(transit), { transitToken: () => transit.token });
  t.match(await rewrap(base.deps, forever), { remaining: 0, rewrapped: 42, failed: 0 });
  await opensAll(t, base.deps.ring, base);

  const kms = await startKms(t);
  const text = keyringText([transitKey(transit, 'decrypt_only'), kmsKey(kms)]);
  const ring = parseKeyring(
    text,
    'test',
    services(t, { transitToken: () => transit.token, awsCredentials: kms.credentials }),
  );
  kms.deniedWorkspace = base.workspaces[0] as string;
  const deps = { ...base.deps, ring };
  t.match(await rewrap(deps, forever), { remaining: 1, rewrapped: 41, failed: 1 });
  kms.deniedWorkspace = null;
  t.match(await rewrap(deps, forever), { remaining: 0, rewrapped: 1, failed: 0 });
  await opensAll(t, ring, base);
});

t.test('a key service that goes away ends a run, and what is done stays done', async (t) => {
  const kms = await startKms(t);
  const time = { now: Date.now() };
  const base = await rotated(t, 60, kmsKey(kms), { awsCredentials: kms.credentials, clock: () => time.now });
  const run = rewrap(
    {
      ...base.deps,
      batchRows: 20,
      onProgress: ({ rewrapped }) => void (kms.mode = rewrapped >= 20 ? 'down' : 'up'),
    },
    forever,
  );
  await t.rejects(run, { name: 'KekError', code: 'unavailable' });
  t.equal((await base.uses())[base.newId]?.workspaceKeys, 20);
  kms.mode = 'up';
  time.now += 1000;
  t.match(await rewrap(base.deps, forever), { remaining: 0, rewrapped: 42 });
});

function keysOf(text: string): readonly RingKey[] {
  return readKeyringText(text, 'test');
}

function setRecord(store: Pick<Store, 'asSystem'>, workspaceId: string, record: Buffer): Promise<unknown> {
  return store.asSystem((tx) =>
    tx.updateTable('workspace_keys').set({ record }).where('workspace_id', '=', workspaceId).execute(),
  );
}
