import { execFile } from 'node:child_process';
import path from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { runCli } from '../../src/cli/run.ts';
import { readConfig } from '../../src/config.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';
import { said } from '../support/said.ts';

t.setTimeout(60_000);

const upstream = await scriptUpstream(t, { script: [{ body: { ok: true } }] });
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin, groq: upstream.origin } });
const settings = { SALLYPORT_URL: gateway.origin, SALLYPORT_ADMIN_TOKEN: gateway.adminToken };
const { body: ann } = await gateway.api('POST', '/users', { name: 'ann', externalId: 'a-1' });
const { body: ben } = await gateway.api('POST', '/users', { name: 'ben' });
const value = 'sk-test-cli-0123456789abcdef';

/** A command in this process. */
async function run(argv: readonly string[], input = '') {
  const [output, error] = [new PassThrough(), new PassThrough()];
  const exit = await runCli({
    argv: [...argv, '--json'],
    terminal: { input: Readable.from(input === '' ? [] : [Buffer.from(input)]), output, error },
    version: '1.2.3',
    readConfig: () => readConfig({ DATA_DIR: '/nonexistent', ...settings }),
    loadDeps: () => Promise.reject(new Error('not to be used here')),
  });
  const text = said(output);
  return {
    exit,
    json: text === '' ? null : JSON.parse(text),
    err: said(error),
  };
}

/** The real program, with keys in its environment. */
async function importEnv(keys: Record<string, string>, ...more: string[]) {
  const program = path.join(fileURLToPath(new URL('../../bin/sallyport', import.meta.url)));
  return promisify(execFile)(program, ['keys', 'import-env', '--json', ...more], {
    env: { PATH: process.env['PATH'], ...settings, ...keys },
  })
    .then(({ stdout, stderr }) => ({ exit: 0, out: JSON.parse(stdout), said: stdout + stderr }))
    .catch((error: { code: number; stdout: string; stderr: string }) => ({
      exit: error.code,
      out: error.stdout === '' ? null : JSON.parse(error.stdout),
      said: error.stdout + error.stderr,
    }));
}

t.test('a leaked key is looked for by its value or fingerprint', async (t) => {
  const id = await gateway.addKey('openai', value, { userId: ann.id });
  const { body: minted } = await gateway.api('POST', '/tokens', { name: 'x', userId: ann.id });
  await ask(`${gateway.origin}/v1/chat/completions`, {
    headers: { 'x-api-key': minted.token },
    body: { model: 'gpt-4o' },
  });
  await gateway.shipped();
  const found = await run(['keys', 'find'], `${value}\n`);
  t.match(found, {
    exit: 0,
    err: '',
    json: { keys: [{ id }], uses: [{ keyId: id, tokenId: minted.id, calls: 1 }] },
  });
  const same = await run(['keys', 'find', '--fingerprint', found.json.fingerprint]);
  // When a key was last used is written some seconds after its use: perhaps between the two.
  const keys = found.json.keys.map((key: object) => ({ ...key, lastUsedAt: same.json.keys[0].lastUsedAt }));
  t.same(same.json, { ...found.json, keys });
  t.match(await run(['keys', 'find', '--fingerprint', 'nonsense']), { exit: 2 });
  t.match(await run(['keys', 'find', '--fingerprint', value]), { exit: 2 }, 'a value is no argument');
  await gateway.api('DELETE', `/api-keys/${id}`);
});

t.test('a key is disabled, enabled, shared and taken back', async (t) => {
  const id = await gateway.addKey('openai', value, { userId: ann.id });
  t.match(await run(['keys', 'disable', id]), { exit: 0, json: { id, status: 'disabled' } });
  t.match(await run(['keys', 'enable', id]), { exit: 0, json: { id, status: 'active' } });
  t.match(await run(['keys', 'share', id, '--with', 'workspace']), { json: { sharedWith: 'workspace' } });
  const some = await run(['keys', 'share', id, '--with', `ben, ${ben.id}`]);
  t.same(some.json.sharedWith, [ben.id]);
  t.match(await run(['keys', 'share', id, '--with', 'nobody']), { json: { sharedWith: null } });
  t.match(await run(['keys', 'share', id, '--with', 'stranger']), { exit: 3 });
  t.match(await run(['keys', 'share', id, '--with', ',']), { exit: 2 });
  t.match(await run(['keys', 'disable', 'key_x']), { exit: 3 });
  await gateway.api('DELETE', `/api-keys/${id}`);
});

t.test('keys of the environment are moved into the vault, managed or a user’s own, once', async (t) => {
  const groq = 'gsk_0123456789abcdef';
  const keys = { OPENAI_API_KEY: value, GROQ_API_KEY: groq };
  const first = await importEnv(keys);
  t.match(first, {
    exit: 0,
    out: {
      data: [
        { variable: 'OPENAI_API_KEY', provider: 'openai', id: /^key_/, imported: true },
        { variable: 'GROQ_API_KEY', provider: 'groq', id: /^key_/, imported: true },
      ],
    },
  });
  t.notMatch(first.said, /sk-test-cli|gsk_0/);
  const [openai] = first.out.data;
  t.match((await gateway.api('GET', `/api-keys/${openai.id}`)).body, { source: 'managed', version: 1 });
  const again = await importEnv(keys);
  t.match(again.out.data, [{ id: openai.id, imported: false }, { imported: false }]);

  const own = await importEnv({ GROQ_API_KEY: groq }, '--user', 'a-1');
  t.match(own, { exit: 0, out: { data: [{ provider: 'groq', imported: true }] } });
  t.match((await gateway.api('GET', `/api-keys/${own.out.data[0].id}`)).body, {
    source: 'own',
    userId: ann.id,
    duplicates: [first.out.data[1].id],
  });
  t.match((await importEnv({ GROQ_API_KEY: groq }, '--user', ann.id)).out.data, [{ imported: false }]);

  const mixed = await importEnv({
    OPENAI_API_KEY: 'sk-admin-0123456789abcdef',
    XAI_API_KEY: 'xai-0123456789abc',
  });
  t.match(mixed, {
    exit: 1,
    out: {
      data: [
        { provider: 'openai', id: null, imported: false, message: /administrative power/ },
        { provider: 'xai', imported: true },
      ],
    },
  });
  t.match(await importEnv({}), { exit: 2, out: null, said: /None of OPENAI_API_KEY/ });
  const stranger = await importEnv({ OPENAI_API_KEY: value }, '--user', 'stranger');
  t.match(stranger, { exit: 3, out: null });
  await gateway.api('PATCH', '/workspaces/current', { storeKeys: false, confirm: 'shred' });
  t.match(await importEnv({ GROQ_API_KEY: groq }), {
    exit: 1,
    out: { data: [{ message: /storeKeys is off/ }] },
  });
  await gateway.api('PATCH', '/workspaces/current', { storeKeys: true });
});

t.test('only the operator keeps managed keys', async (t) => {
  const { body: other } = await gateway.api('POST', '/workspaces', { name: 'other' });
  const refused = await gateway.api(
    'POST',
    '/api-keys/import',
    { provider: 'groq', value: 'gsk_0123456789ab' },
    other.adminToken,
  );
  t.match(refused, { status: 403, body: { code: 'FORBIDDEN' } });
  for (const body of [{ provider: 'groq' }, { provider: 'custom', value }, { provider: 'nobody', value }])
    t.equal((await gateway.api('POST', '/api-keys/import', body)).status, 400);
});

t.test('a user is erased by name', async (t) => {
  const { body: cid } = await gateway.api('POST', '/users', { name: 'cid' });
  t.match(await run(['users', 'erase', 'cid']), {
    exit: 0,
    json: { id: cid.id, deleted: true, receipt: /\./ },
  });
  t.match(await run(['users', 'erase', 'cid']), { exit: 3 });
});
