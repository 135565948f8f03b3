import { chmodSync, readFileSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { sql } from 'kysely';
import t, { type Test } from 'tap';
import type { CliDeps } from '../../src/cli/deps.ts';
import { runCli } from '../../src/cli/run.ts';
import { readConfig } from '../../src/config.ts';
import { createUsableKeys } from '../../src/vault/keyring-publish.ts';
import { rewrap } from '../../src/vault/keyring-rewrap.ts';
import {
  inState,
  keyringText,
  newLocalKey,
  readKeyringText,
  type RingKey,
} from '../../src/vault/keyring-text.ts';
import { newKeyringText } from '../../src/vault/keyring.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { startKms } from '../support/kms-fake.ts';
import { lockWaits } from '../support/lock-waits.ts';
import { scriptUpstream, testCa } from '../support/upstream.ts';
import { kmsKey } from '../vault/root-key-services.ts';
import { said } from '../support/said.ts';

const key = 'sk-proj-abcdefghijklmnopqrstuvwxyz0123456789';

function keyringFile(gateway: TestGateway): string {
  return path.join(gateway.journalDir, '..', 'keyring.json');
}

async function call(gateway: TestGateway): Promise<number> {
  const response = await fetch(`${gateway.origin}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${gateway.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'gpt-4o', messages: [] }),
  });
  await response.arrayBuffer();
  return response.status;
}

async function start(t: Test, settings: Record<string, string> = {}): Promise<TestGateway> {
  const upstream = await scriptUpstream(t, { key });
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin }, settings });
  await gateway.addKey('openai', key);
  return gateway;
}

/** Another node, as its row says. */
function otherNode(gateway: TestGateway, row: { rootKeys: string[]; active: string; age?: number }) {
  return gateway.database.store.asSystem(async (tx) => {
    await tx.deleteFrom('nodes').where('node_id', '=', 'node_other').execute();
    await tx
      .insertInto('nodes')
      .values({
        node_id: 'node_other',
        boot_id: 'b',
        version: 'test',
        beat_at: new Date(Date.now() - (row.age ?? 0) * 1000),
        root_keys: row.rootKeys,
        active_root_key: row.active,
      })
      .execute();
  });
}

t.test('a root key is exchanged while the gateway serves', async (t) => {
  const gateway = await start(t);
  gateway.app.rootKeys.beat.start();
  await gateway.app.rootKeys.beat.now();
  const file = keyringFile(gateway);
  const status = async () => (await gateway.api('GET', '/keyring')).body;
  const post = (step: string, body: object = {}) => gateway.api('POST', `/keyring/${step}`, body);
  const before = await status();
  const [old] = before.keys;
  t.match(before, {
    source: 'file',
    problem: null,
    keys: [{ state: 'active', scheme: 'local', workspaceKeys: 1, canary: true }],
    nodes: [{ isLive: true, rootKeys: [old.id], activeRootKey: old.id }],
    rewrap: { status: 'idle' },
  });
  const oldText = readFileSync(file, 'utf8');
  t.notMatch(JSON.stringify(before), /base64|"key"/);

  const both = await Promise.all([post('stage'), post('stage')]);
  const [staged, second] = both.toSorted((a, b) => a.status - b.status) as [
    (typeof both)[0],
    (typeof both)[0],
  ];
  t.match(second, { status: 409, body: { code: 'CONFLICT' } }, 'one of two at once');
  t.equal(staged.status, 200, staged.body.detail);
  t.equal(staged.body.keys.length, 2);
  const fresh = staged.body.keys[1];
  t.match(fresh, { id: /^k1[0-9a-f]{20}$/, state: 'staged', workspaceKeys: 0 });
  t.strictSame(staged.body.nodes[0].rootKeys, [old.id, fresh.id], 'this node says at once that it has it');
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.match(await post('stage'), { status: 409, body: { code: 'CONFLICT' } });

  await t.test('promote is refused while a live node lacks the key', async (t) => {
    await otherNode(gateway, { rootKeys: [old.id], active: old.id });
    t.match(await post('promote'), { status: 409, body: { code: 'CONFLICT', detail: /node_other/ } });
    t.equal((await status()).activeRootKey, old.id);
    await otherNode(gateway, { rootKeys: [old.id], active: old.id, age: 40 });
    t.equal((await post('promote')).status, 200, 'a node that is gone is not waited for');
  });
  t.match(await post('promote'), { status: 409 }, 'nothing is staged now');
  t.match(await status(), {
    activeRootKey: fresh.id,
    keys: [
      { state: 'decrypt_only', workspaceKeys: 1 },
      { state: 'active', workspaceKeys: 0 },
    ],
  });
  t.equal(await call(gateway), 200);

  await t.test(
    'retire is refused while something is under the key, or a live node seals under it',
    async (t) => {
      t.match(await post('retire', { rootKeyId: old.id }), {
        status: 409,
        body: { detail: /still opens 1 workspace keys, \d intake keys, \d signing keys and the canary/ },
      });
      t.match(await post('retire', { rootKeyId: fresh.id }), { status: 409, body: { detail: /active/ } });
      t.match(await post('retire', { rootKeyId: `k1${'0'.repeat(20)}` }), { status: 404 });
      const running = await post('rewrap');
      t.equal(running.status, 200);
      await gateway.app.rootKeys.rewrapped();
      t.match(await status(), { rewrap: { status: 'done', remaining: 0, failed: 0, message: null } });
      await otherNode(gateway, { rootKeys: [old.id, fresh.id], active: old.id });
      t.match(await post('retire', { rootKeyId: old.id }), { status: 409, body: { detail: /node_other/ } });
      await otherNode(gateway, { rootKeys: [old.id, fresh.id], active: fresh.id });
      t.equal((await post('retire', { rootKeyId: old.id })).status, 200);
    },
  );

  const secret = /base64:[^"]+/.exec(oldText)?.[0] as string;
  for (const name of readdirSync(path.dirname(file)).filter((name) => name.startsWith('keyring')))
    t.notOk(
      readFileSync(path.join(path.dirname(file), name), 'utf8').includes(secret),
      `${name} has no old key`,
    );
  t.match(JSON.parse(readFileSync(file, 'utf8')), {
    keys: [{ id: old.id, state: 'retired' }, { state: 'active' }],
  });
  t.equal(await call(gateway), 200, 'calls go on with what is cached');
  gateway.installation.vault.forget(gateway.workspaceId);
  t.equal(await call(gateway), 200, 'and with what is read anew');
  t.match(await gateway.metrics(), /sallyport_rewrapped_total [23]\n/);
  t.match(await gateway.metrics(), /sallyport_rewrap_remaining 0\n/);

  await gateway.shipped();
  const events = await gateway.database.store.asSystem((tx) =>
    tx
      .selectFrom('journal')
      .select(['event', 'line'])
      .where('event', 'like', 'keyring.%')
      .orderBy('seq')
      .execute(),
  );
  t.strictSame(
    // The second of the two stages is refused before its act or in it.
    events.map(({ event }) => event).filter((event) => !/\.intent$|^keyring\.stage\.failed$/.test(event)),
    [
      'keyring.stage.done',
      'keyring.promote.done',
      'keyring.rewrap.done',
      'keyring.rewrapped',
      'keyring.retire.done',
    ].toSorted(
      (a, b) => events.findIndex(({ event }) => event === a) - events.findIndex(({ event }) => event === b),
    ),
  );
  t.notMatch(events.map(({ line }) => line).join('\n'), /base64/);
  await gateway.stop();
  const rows = await gateway.database.store.asSystem((tx) =>
    tx.selectFrom('nodes').select('node_id').execute(),
  );
  t.strictSame(rows, [{ node_id: 'node_other' }], 'a clean stop takes its row away');
});

t.test('what is being made while a root key is promoted goes under that one', async (t) => {
  const gateway = await start(t);
  const { store } = gateway.database;
  await gateway.api('POST', '/keyring/stage', {});
  const [{ answers }, promoted] = await store.asSystem(async (tx) => {
    await sql`lock table workspace_keys, intake_keys in exclusive mode`.execute(tx);
    const answers = Promise.all([
      gateway.api('POST', '/workspaces', { name: 'meanwhile' }),
      gateway.api('GET', '/intake-key'),
    ]);
    await lockWaits(store, ['workspace_keys', 'intake_keys'], 2);
    return [{ answers }, await gateway.api('POST', '/keyring/promote', {})] as const;
  });
  t.equal(promoted.status, 200, promoted.body.detail);
  const [workspace, intakeKey] = await answers;
  t.equal(workspace.status, 201, workspace.body.detail);
  t.equal(intakeKey.status, 200, intakeKey.body.detail);
  t.match(promoted.body.keys, [
    { state: 'decrypt_only', workspaceKeys: 1, intakeKeys: 0 },
    { state: 'active', workspaceKeys: 0 },
  ]);
  t.match((await gateway.api('GET', '/keyring')).body.keys, [
    { state: 'decrypt_only', workspaceKeys: 1, intakeKeys: 0 },
    { state: 'active', workspaceKeys: 1, intakeKeys: 1 },
  ]);
  // From the rows, and not from memory.
  gateway.installation.vault.forget(workspace.body.workspaceId);
  t.equal((await gateway.api('GET', '/tokens', undefined, workspace.body.adminToken)).status, 200);
  t.ok(await gateway.installation.vault.workspaceKey(workspace.body.workspaceId));
});

t.test('root keys are the operator’s alone', async (t) => {
  const gateway = await startGateway(t);
  const made = await gateway.api('POST', '/workspaces', { name: 'another' });
  for (const [method, url] of [
    ['GET', '/keyring'],
    ['POST', '/keyring/stage'],
    ['POST', '/keyring/promote'],
    ['POST', '/keyring/rewrap'],
  ] as const) {
    const answer = await gateway.api(method, url, method === 'GET' ? undefined : {}, made.body.adminToken);
    t.match(answer, { status: 403, body: { code: 'FORBIDDEN' } }, url);
  }
});

t.test(
  'a keyring file that is written anew is taken over without a restart, and a bad one is not',
  async (t) => {
    const gateway = await start(t);
    const file = keyringFile(gateway);
    const { ring } = gateway.installation.keyring;
    const text = readFileSync(file, 'utf8');
    const keys = readKeyringText(text, 'test');
    const write = (content: string, mode = 0o600): void => {
      writeFileSync(file, content);
      chmodSync(file, mode);
      utimesSync(file, new Date(), new Date(Date.now() + count++));
    };
    let count = 1;
    const { beat } = gateway.app.rootKeys;
    beat.start();
    const staged = newLocalKey('staged');
    write(keyringText([...keys, staged]));
    await beat.now();
    t.equal(ring.get(staged.id)?.state, 'staged', 'a beat is enough');

    for (const [what, content, mode] of [
      ['half a file', text.slice(0, 40), 0o600],
      ['empty', '', 0o600],
      ['readable by the group', text, 0o640],
      ['another ring', newKeyringText(), 0o600],
      ['no active key', keyringText([staged, inState(keys[0] as never, 'decrypt_only')]), 0o600],
    ] as const) {
      write(content, mode);
      await beat.now();
      t.ok(ring.get(keys[0]?.id ?? '')?.state === 'active', what);
      t.match((await gateway.api('GET', '/keyring')).body.problem, /keyring/, what);
    }
    t.equal(await call(gateway), 200, 'calls go on with the ring in memory');
    t.equal(
      gateway.logLines.filter((line) => line.includes('keyring.refused')).length,
      4,
      'each told once; the first two say the same',
    );
    write(text);
    await beat.now();
    t.equal((await gateway.api('GET', '/keyring')).body.problem, null);
    t.equal(ring.get(staged.id), null, 'a staged key that nothing uses may go');

    // A rewrap that was killed before its last step leaves the canary alone under the old key.
    const fresh = newLocalKey('active');
    const [old] = keys.map((entry) => inState(entry, 'decrypt_only')) as [RingKey];
    write(keyringText([old, fresh]));
    await beat.now();
    t.equal(ring.active().id, fresh.id);
    const { store } = gateway.database;
    const canaryOf = () =>
      store.asSystem((tx) => tx.selectFrom('deployment').select('canary').executeTakeFirstOrThrow());
    const { canary } = await canaryOf();
    const { deploymentId } = gateway.installation.vault;
    await rewrap({ store, ring, deploymentId }, new AbortController().signal);
    const { canary: sealedAnew } = await canaryOf();
    await store.asSystem((tx) => tx.updateTable('deployment').set({ canary }).execute());
    write(keyringText([fresh]));
    await beat.now();
    t.ok(ring.get(old.id), 'a key that only the canary is under is in use');
    await store.asSystem((tx) => tx.updateTable('deployment').set({ canary: sealedAnew }).execute());
  },
);

t.test(
  'a ring in the environment is shown and sealed anew under, and edited by its owner alone',
  async (t) => {
    const gateway = await start(t, { SALLYPORT_KEYRING: newKeyringText() });
    t.match((await gateway.api('GET', '/keyring')).body, { source: 'environment' });
    for (const [step, body] of [
      ['stage', {}],
      ['promote', {}],
      ['retire', { rootKeyId: `k1${'0'.repeat(20)}` }],
    ] as const) {
      const answer = await gateway.api('POST', `/keyring/${step}`, body);
      t.match(answer, { status: 409, body: { detail: /SALLYPORT_KEYRING/, fix: /root-keys\.md/ } }, step);
    }
    t.equal((await gateway.api('POST', '/keyring/rewrap', {})).status, 200);
  },
);

t.test(
  'a key in AWS KMS is tried before it is staged, and a node without credentials does not claim it',
  async (t) => {
    const kms = await startKms(t);
    const gateway = await start(t);
    const stage = { kms: { region: kms.region, keyId: kms.keyId, endpoint: kms.origin } };
    const before = readFileSync(keyringFile(gateway), 'utf8');
    t.match(await gateway.api('POST', '/keyring/stage', stage), {
      status: 503,
      body: { code: 'VAULT_SEALED', detail: /AWS_ACCESS_KEY_ID/ },
    });
    t.match(await gateway.api('POST', '/keyring/stage', { kms: { region: 'x', keyId: 'alias/x' } }), {
      status: 400,
      body: { detail: /alias/ },
    });
    t.equal(readFileSync(keyringFile(gateway), 'utf8'), before, 'nothing was written');
    const { ring } = gateway.installation.keyring;
    const [active] = readKeyringText(before, 'test');
    ring.replace([active as never, kmsKey(kms, 'staged')]);
    const usable = createUsableKeys({ ring, deploymentId: gateway.installation.vault.deploymentId });
    t.strictSame(await usable(), [active?.id]);
  },
);

t.test('the command line goes all the way, waits for the end and shows what is where', async (t) => {
  const gateway = await start(t);
  const run = async (...argv: string[]) => {
    const [output, error] = [new PassThrough(), new PassThrough()];
    const code = await runCli({
      argv,
      terminal: { input: Readable.from([]), output, error },
      version: 'test',
      readConfig: () => readConfig({ DATA_DIR: t.testdir({}) }),
      loadDeps: async () =>
        ({
          openOffline: async () => ({
            request: (method: string, url: string, body: Buffer | null) =>
              gateway.app.operator.inject(method, url, body),
            close: async () => {},
          }),
        }) as unknown as CliDeps,
    });
    return { code, text: said(output), error: said(error) };
  };
  const [, old = ''] = /^(k1\S+) +active +local +1 /m.exec((await run('keyring', 'status')).text) ?? [];
  t.match(await run('keyring', 'stage'), { code: 0, text: /keyring promote[\s\S]*staged/ });
  t.match(await run('keyring', 'promote'), { code: 0, text: /decrypt_only/ });
  t.match(await run('keyring', 'retire', old), { code: 1, error: /still opens 1 workspace keys/ });
  t.match(await run('keyring', 'rewrap'), { code: 0, text: /0 to go\. Done\./ });
  const told = JSON.parse((await run('keyring', 'retire', old, '--json')).text);
  t.match(told.keys, [
    { id: old, state: 'retired', scheme: null },
    { state: 'active', workspaceKeys: 1 },
  ]);
  t.match(await run('keyring', 'stage', '--transit', 'transit/x'), { code: 2, error: /--address/ });
  t.match(await run('keyring', 'stage', '--kms', 'x'), { code: 2, error: /--region/ });
});

t.test('with KMS away calls go on from what is open, then 503 with retry-after, and come back', async (t) => {
  const kms = await startKms(t);
  const upstream = await scriptUpstream(t, { key });
  const gateway = await startGateway(t, {
    upstreams: { openai: upstream.origin },
    ca: testCa,
    settings: {
      SALLYPORT_KEYRING: keyringText([kmsKey(kms)]),
      AWS_ACCESS_KEY_ID: kms.credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: kms.credentials.secretAccessKey,
    },
  });
  await gateway.addKey('openai', key);
  const unused = (await gateway.api('POST', '/tokens', { name: 'unused' })).body.token as string;
  t.equal(await call(gateway), 200);
  t.match((await gateway.api('GET', '/keyring')).body.keys, [
    { scheme: 'kms', place: new RegExp(kms.keyId), workspaceKeys: 1, canary: true },
  ]);
  t.match(await (await fetch(`${gateway.origin}/readyz`)).json(), { status: 'ready' });
  kms.mode = 'down';
  t.equal(await call(gateway), 200);
  gateway.installation.vault.forget(gateway.workspaceId);
  for (const token of [gateway.token, unused]) {
    const refused = await fetch(`${gateway.origin}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'gpt-4o', messages: [] }),
    });
    const who = token === unused ? 'a token that was not in use' : 'a token that was';
    t.equal(refused.status, 503);
    t.equal(refused.headers.get('x-sallyport-code'), 'VAULT_SEALED', who);
    t.ok(Number(refused.headers.get('retry-after')) >= 1, who);
    t.notMatch(await refused.text(), /kms|amazonaws|KMS|database/, who);
  }
  t.match(await gateway.metrics(), /sallyport_root_key_uses_total{scheme="kms",result="unavailable"} \d/);
  t.equal(gateway.logLines.filter((line) => line.includes('root-key.trouble')).length, 1, 'told once');
  t.notMatch(gateway.logLines.join('\n'), kms.credentials.secretAccessKey);
});
