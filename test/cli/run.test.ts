import { once } from 'node:events';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { type IncomingMessage, type RequestListener, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import t from 'tap';
import type { CliDeps } from '../../src/cli/deps.ts';
import { type Program, runCli } from '../../src/cli/run.ts';
import { readConfig } from '../../src/config.ts';
import { SallyportError } from '../../src/errors.ts';
import { mintToken, newId } from '../../src/ids.ts';
import { encodeContext } from '../../src/vault/context.ts';
import { createHpke, deriveKeyPair } from '../../src/vault/hpke.ts';
import { newSeal } from '../support/seal.ts';
import { said } from '../support/said.ts';

type Teardown = { teardown(work: () => unknown): void };

const adminToken = mintToken('spa').text;
const keyId = 'key_0195b7c40c8a7e1f9d0123456789abcd';
const tokenId = 'tok_0195b7c40c8a7e1f9d0123456789abcd';
const userId = 'usr_0195b7c40c8a7e1f9d0123456789abcd';

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly authorization: string | undefined;
  readonly body: string;
}

/** A server that answers as WIRE.md says, and keeps what it was asked. */
async function gateway(t: Teardown, answers: Record<string, [number, unknown]>, listenOn?: string) {
  const seen: Seen[] = [];
  const listener: RequestListener = (request: IncomingMessage, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method = '', url = '' } = request;
      seen.push({
        method,
        url,
        authorization: request.headers.authorization,
        body: Buffer.concat(chunks).toString(),
      });
      const [status, body] = answers[`${method} ${url}`] ??
        answers[`${method} ${url.split('?')[0]}`] ?? [404, problem('NOT_FOUND', 404)];
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(typeof body === 'string' ? body : JSON.stringify(body));
    });
  };
  const server = createServer(listener);
  if (listenOn === undefined) server.listen(0, '127.0.0.1');
  else server.listen(listenOn);
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const address = server.address() as AddressInfo | string;
  return { seen, url: typeof address === 'string' ? '' : `http://127.0.0.1:${address.port}` };
}

function problem(code: string, status: number) {
  return {
    type: `urn:sallyport:error:${code}`,
    title: code,
    status,
    code,
    detail: `detail of ${code}`,
    fix: `fix of ${code}`,
    requestId: 'x',
    errors: [],
  };
}

function folder(t: Teardown): string {
  const path = mkdtempSync(join(tmpdir(), 'cli-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const noDeps = new Proxy({} as CliDeps, {
  get: (_, name) =>
    name === 'then'
      ? undefined
      : () => {
          throw new SallyportError('INTERNAL', 'not to be used here');
        },
});

async function run(
  argv: string[],
  options: { env?: Record<string, string>; input?: string; deps?: Partial<CliDeps> } = {},
) {
  const [output, error] = [new PassThrough(), new PassThrough()];
  const program: Program = {
    argv,
    terminal: {
      input: Readable.from(options.input === undefined ? [] : [Buffer.from(options.input)]),
      output,
      error,
    },
    version: '1.2.3',
    readConfig: () => readConfig({ DATA_DIR: '/nonexistent', ...options.env }),
    loadDeps: () => Promise.resolve((options.deps as CliDeps | undefined) ?? noDeps),
  };
  const exit = await runCli(program);
  return { exit, out: said(output), err: said(error) };
}

t.test('with a URL, keys add sends the value sealed, and prints the contract’s document', async (t) => {
  const intake = newSeal();
  const [id, workspaceId] = [newId('ik'), newId('ws')];
  const { seen, url } = await gateway(t, {
    'GET /api/intake-key': [200, { id, publicKey: intake.publicKey, workspaceId }],
    'POST /api/api-keys': [
      201,
      { id: keyId, name: 'main', provider: 'openai', last4: 'ef"\\', status: 'active' },
    ],
    'GET /api/providers': [
      200,
      { data: [{ name: 'openai', auth: 'bearer', origin: 'https://api.openai.com' }] },
    ],
    'GET /api/users': [
      200,
      {
        data: [
          { id: userId, name: 'Ann', externalId: 'a-1' },
          { id: 'usr_x', name: 'a-1', externalId: null },
        ],
        nextCursor: null,
      },
    ],
  });
  const wrong = await run(['keys', 'add', '--provider', 'opnai', '--name', 'main', '--url', `${url}/`], {
    env: { SALLYPORT_ADMIN_TOKEN: adminToken },
  });
  t.match(wrong, { exit: 2, err: /There is no such provider/ }, 'before a key is asked for');
  const argv = 'keys add --provider openai --name main --user a-1 --expires 2027-12-31T23:59:59Z --json';
  const result = await run([...argv.split(' '), '--url', `${url}/`], {
    env: { SALLYPORT_ADMIN_TOKEN: adminToken },
    input: 'sk-abc"\\def\n',
  });
  t.same(result, { exit: 0, out: `{"id":"${keyId}","name":"main","provider":"openai"}\n`, err: '' });
  const post = seen.find(({ method }) => method === 'POST');
  t.equal(post?.authorization, `Bearer ${adminToken}`);
  const { sealedValue, ...rest } = JSON.parse(post?.body ?? '');
  t.same(rest, { name: 'main', provider: 'openai', userId, expiresAt: '2027-12-31T23:59:59Z' });
  const bytes = Buffer.from(sealedValue.slice(`${id}.`.length), 'base64url');
  const opened = createHpke('sallyport/v1/intake').open(
    deriveKeyPair(intake.ikm),
    encodeContext(['intake', workspaceId, 'openai']),
    bytes,
  );
  t.equal(opened?.toString(), 'sk-abc"\\def', 'as standard input had it');
  t.notOk(seen.some(({ body }) => body.includes('sk-abc')));
});

t.test('a key without a credential reads no value, and a custom one needs an origin', async (t) => {
  const { seen, url } = await gateway(t, {
    'POST /api/api-keys': [201, { id: keyId, name: 'ollama', provider: 'custom' }],
  });
  const env = { SALLYPORT_ADMIN_TOKEN: adminToken, SALLYPORT_URL: url };
  const argv = ['keys', 'add', '--provider', 'custom', '--name', 'ollama', '--json'];
  t.match(await run(argv, { env }), { exit: 2, out: '', err: /"REQUEST_INVALID"/ });
  const origin = ['--origin', 'http://127.0.0.1:11434', '--base-path', '/v1', '--auth', 'none'];
  t.match(await run([...argv, ...origin], { env }), { exit: 0 });
  t.same(JSON.parse(seen[0]?.body ?? ''), {
    name: 'ollama',
    provider: 'custom',
    origins: ['http://127.0.0.1:11434'],
    basePath: '/v1',
    auth: 'none',
  });
  t.match(await run([...argv, ...origin, '--weight', '0', '--stream-usage'], { env }), { exit: 0 });
  t.match(JSON.parse(seen[1]?.body ?? ''), { weight: 0, streamUsage: true });
});

t.test('a token’s reach and policy are options with units', async (t) => {
  const { seen, url } = await gateway(t, { 'POST /api/tokens': [201, { id: tokenId, token: 'spt_x' }] });
  const env = { SALLYPORT_ADMIN_TOKEN: adminToken, SALLYPORT_URL: url };
  const create = (more: string) => run(`tokens create --name app ${more}`.split(' '), { env });
  const reach = '--endpoints openai.chat,google.* --networks 10.0.0.0/8,::1 --tags a,b';
  const policy =
    '--fallback-models groq/llama,fast --max-attempts 5 --no-retry-stale --timeouts connect=250ms,first-byte=30s,total=1h --on-disconnect drain:30s,10MiB';
  t.match(await create(`${reach} ${policy}`), { exit: 0 });
  t.same(JSON.parse(seen[0]?.body ?? ''), {
    name: 'app',
    kind: 'gateway',
    endpoints: ['openai.chat', 'google.*'],
    networks: ['10.0.0.0/8', '::1'],
    tags: ['a', 'b'],
    policy: {
      fallbackModels: ['groq/llama', 'fast'],
      maxAttempts: 5,
      retryStale: false,
      timeouts: { connectMs: 250, firstByteMs: 30_000, totalMs: 3_600_000 },
      onDisconnect: { type: 'drain', maxSeconds: 30, maxBytes: 10_485_760 },
    },
  });
  t.match(await create('--on-disconnect abort'), { exit: 0 });
  t.same(JSON.parse(seen[1]?.body ?? '').policy, { onDisconnect: { type: 'abort' } });
  for (const wrong of [
    '--timeouts connect=5',
    '--timeouts whole=5s',
    '--timeouts constructor=5s',
    '--on-disconnect drain:30s',
    '--on-disconnect drain:1500ms,10MB',
    '--on-disconnect keep',
    '--max-attempts many',
  ])
    t.match(await create(wrong), { exit: 2 }, wrong);
});

t.test('explain says where a call would go, and is exit 1 where it would be refused', async (t) => {
  const target = {
    provider: 'openai',
    keyId,
    keySource: 'own',
    origin: 'https://api.openai.com',
    path: '/v1/chat/completions',
    upstreamModel: 'gpt-4o-mini',
    needsSeal: true,
    pricing: { version: 'v', rates: { input: { usd: 0.15, per: 1e6 }, output: { usd: 0.6, per: 1e6 } } },
  };
  const said = {
    endpoint: '/v1/chat/completions',
    refusal: null,
    alias: { alias: 'fast', target: 'openai/gpt-4o-mini' },
    targets: [target, { ...target, provider: 'local', pricing: null }],
    skipped: [{ model: 'fast', keyId: 'key_x', reason: 'disabled' }],
  };
  const refusal = { code: 'MODEL_UNKNOWN', message: 'No such.', fix: 'Another.' };
  const { seen, url } = await gateway(t, {
    [`GET /api/explain?model=fast&token=${tokenId}&endpoint=%2Fv1%2Fresponses&stream=true`]: [200, said],
    'GET /api/explain': [200, { ...said, refusal, targets: [] }],
  });
  const env = { SALLYPORT_ADMIN_TOKEN: adminToken, SALLYPORT_URL: url };
  const argv = ['explain', 'fast', '--token', tokenId];
  const told = await run([...argv, '--endpoint', '/v1/responses', '--stream'], { env });
  t.match(told, {
    exit: 0,
    out: /fast stands for openai\/gpt-4o-mini\.[^]*\(sealed\)[^]*0\.15 in, 0\.6 out[^]*not known/,
  });
  t.match(told.out, /Not asked: key_x \(disabled\)/);
  t.match(await run(argv, { env }), {
    exit: 1,
    out: /would be refused: No such\. \(MODEL_UNKNOWN\)\n  Another\./,
  });
  t.match(await run(['explain', 'fast', '--token', 'x'], { env }), { exit: 3, err: /tokens list/ });
  t.equal(seen.length, 2);
});

t.test('aliases are made, listed and taken away by id', async (t) => {
  const aliasId = 'alias_0195b7c40c8a7e1f9d0123456789abcd';
  const alias = { id: aliasId, alias: 'team/*', target: 'ollama/*', createdAt: '2026-01-01T00:00:00.000Z' };
  const { seen, url } = await gateway(t, {
    'POST /api/aliases': [201, alias],
    'GET /api/aliases': [200, { data: [alias], nextCursor: null }],
    [`DELETE /api/aliases/${aliasId}`]: [200, { id: aliasId, deleted: true, receipt: 's.1.0' }],
  });
  const env = { SALLYPORT_ADMIN_TOKEN: adminToken, SALLYPORT_URL: url };
  const create = ['aliases', 'create', '--alias', 'team/*', '--target', 'ollama/*'];
  t.match(await run(create, { env }), { exit: 0, out: /team\/\* is ollama\/\* on \/v1/ });
  t.same(JSON.parse(seen[0]?.body ?? ''), { alias: 'team/*', target: 'ollama/*' });
  t.match(await run(['aliases', 'list'], { env }), { exit: 0, out: /STANDS FOR[^]*team\/\*/ });
  t.match(await run(['aliases', 'rm', aliasId], { env }), { exit: 0, out: /Receipt: s\.1\.0/ });
  t.match(await run(['aliases', 'rm', 'team/*'], { env }), { exit: 3, err: /aliases list/ });
});

t.test('lists are read to their last page and printed whole', async (t) => {
  const row = (n: number) => ({
    id: `key_${n}`,
    name: `evil\u001b[2J${n}`,
    provider: 'openai',
    source: 'own',
    status: 'active',
    last4: 'abcd',
    expiresAt: null,
    lastUsedAt: null,
  });
  const { url } = await gateway(t, {
    'GET /api/api-keys?limit=200': [200, { data: [row(1)], nextCursor: 'c 2' }],
    'GET /api/api-keys?limit=200&cursor=c+2': [200, { data: [row(2)], nextCursor: null }],
  });
  const env = { SALLYPORT_ADMIN_TOKEN: adminToken, SALLYPORT_URL: url };
  const json = await run(['keys', 'list', '--json'], { env });
  t.same(JSON.parse(json.out), { data: [row(1), row(2)] });
  const human = await run(['keys', 'list'], { env });
  t.match(human.out, /^ID +NAME +PROVIDER/);
  t.notMatch(human.out, '\u001b', 'a name cannot steer the terminal');
});

t.test(
  'each kind of refusal has its exit code, and with --json its document on standard error alone',
  async (t) => {
    const codes: [string, number, number][] = [
      ['KEY_FORMAT', 422, 1],
      ['AUTH_INVALID', 401, 1],
      ['REQUEST_INVALID', 400, 2],
      ['NOT_FOUND', 404, 3],
      ['AUTH_UNAVAILABLE', 503, 4],
      ['A_CODE_OF_TOMORROW', 418, 1],
    ];
    for (const [code, status, exit] of codes) {
      const { url } = await gateway(t, {
        [`DELETE /api/tokens/${tokenId}`]: [status, problem(code, status)],
      });
      const result = await run(['tokens', 'revoke', tokenId, '--json'], {
        env: { SALLYPORT_ADMIN_TOKEN: adminToken, SALLYPORT_URL: url },
      });
      t.match(result, { exit, out: '' });
      t.same(JSON.parse(result.err), { code, message: `detail of ${code}`, fix: `fix of ${code}` });
    }
  },
);

t.test('validation errors name their places, once', async (t) => {
  const errors = [
    { path: '/name', message: 'is too long' },
    { path: '/x', message: 'detail of REQUEST_INVALID' },
  ];
  const { url } = await gateway(t, {
    'POST /api/users': [400, { ...problem('REQUEST_INVALID', 400), errors }],
  });
  const result = await run(['users', 'create', '--name', 'x', '--json'], {
    env: { SALLYPORT_ADMIN_TOKEN: adminToken, SALLYPORT_URL: url },
  });
  t.match(JSON.parse(result.err), { message: 'detail of REQUEST_INVALID /name is too long.' });
});

t.test('what is no gateway, or is not there, is exit 4', async (t) => {
  const { url } = await gateway(t, { 'GET /api/usage': [200, '<html>'] });
  t.match(await run(['usage', '--url', url], { env: { SALLYPORT_ADMIN_TOKEN: adminToken } }), {
    exit: 4,
    err: /not a Sallyport gateway/,
  });
  const gone = await run(['usage', '--url', 'http://127.0.0.1:1', '--json'], {
    env: { SALLYPORT_ADMIN_TOKEN: adminToken },
  });
  t.match(gone, { exit: 4, out: '', err: /"GATEWAY_UNREACHABLE"/ });
});

t.test('the admin token travels neither in clear nor without being set', async (t) => {
  const env = { SALLYPORT_ADMIN_TOKEN: adminToken };
  t.match(await run(['usage', '--url', 'http://gate.example'], { env }), { exit: 1, err: /TLS_REQUIRED/ });
  t.match(await run(['usage', '--url', 'http://127.evil.example'], { env }), {
    exit: 1,
    err: /TLS_REQUIRED/,
  });
  t.match(await run(['usage', '--url', 'https://gate.example']), { exit: 78, err: /SALLYPORT_ADMIN_TOKEN/ });
  t.match(await run(['usage', '--url', 'gate.example'], { env }), { exit: 2 });
});

t.test(
  'without a URL the socket of a running gateway is used, whatever the length of its path',
  async (t) => {
    for (const depth of [1, 8]) {
      const dataDir = join(folder(t), ...Array.from({ length: depth }, () => 'a-long-folder-name'));
      mkdirSync(join(dataDir, 'run'), { recursive: true });
      const from = process.cwd();
      process.chdir(join(dataDir, 'run'));
      const { seen } = await gateway(
        t,
        { [`DELETE /api/api-keys/${keyId}`]: [200, { id: keyId, deleted: true, receipt: 'r' }] },
        'admin.sock',
      );
      process.chdir(from);
      const result = await run(['keys', 'rm', keyId, '--json'], { env: { DATA_DIR: dataDir } });
      t.same(result, { exit: 0, out: `{"id":"${keyId}","deleted":true,"receipt":"r"}\n`, err: '' });
      t.equal(seen[0]?.authorization, undefined, 'the socket’s mode is the credential');
      t.equal(process.cwd(), from);
      const init = await run(['init', '--json'], { env: { DATA_DIR: dataDir } });
      t.match(init, { exit: 1, out: '', err: /"ALREADY_INITIALISED"/ });
    }
  },
);

t.test(
  'a socket that nobody listens on leads to the data directory, which is closed again even after a failure',
  async (t) => {
    const dataDir = folder(t);
    mkdirSync(join(dataDir, 'run'));
    const path = join(dataDir, 'run', 'admin.sock');
    const stale = createServer().listen(path);
    await once(stale, 'listening');
    chmodSync(path, 0o600);
    // Only the file is left, as after kill -9: closing a server would take it along.
    const dead = join(dataDir, 'run', 'dead.sock');
    linkSync(path, dead);
    stale.close();
    await once(stale, 'close');
    renameSync(dead, path);

    const calls: unknown[] = [];
    let closed = 0;
    let status = 200;
    const deps: Partial<CliDeps> = {
      openOffline: () =>
        Promise.resolve({
          request(method, path, body) {
            calls.push([method, path, body?.toString()]);
            return Promise.resolve({
              status,
              body: Buffer.from(
                JSON.stringify(status === 200 ? { id: tokenId, token: 'spt_x' } : problem('CONFLICT', 409)),
              ),
            });
          },
          close: () => Promise.resolve(void (closed += 1)),
        }),
    };
    const argv = [
      'tokens',
      'create',
      '--name',
      'app',
      '--admin',
      '--requests-per-minute',
      '5',
      '--models',
      'a, b',
      '--json',
    ];
    t.match(await run(argv, { env: { DATA_DIR: dataDir }, deps }), {
      exit: 0,
      out: `{"id":"${tokenId}","token":"spt_x"}\n`,
    });
    t.same(calls, [
      ['POST', '/api/tokens', '{"name":"app","kind":"admin","models":["a","b"],"requestsPerMinute":5}'],
    ]);
    status = 409;
    t.match(await run(argv, { env: { DATA_DIR: dataDir }, deps }), { exit: 1, err: /"CONFLICT"/ });
    t.equal(closed, 2);
  },
);

t.test('a bad configuration is exit 78, but help, version and doctor still answer', async (t) => {
  const env = { PORT: 'x' };
  t.match(await run(['keys', 'list', '--json'], { env }), {
    exit: 78,
    out: '',
    err: /^{"code":"CONFIG_INVALID","message":"PORT must/,
  });
  t.match(await run(['--help'], { env }), { exit: 0, err: '' });
  t.match(await run(['--version'], { env }), { exit: 0, out: '1.2.3\n' });
  const doctor = await run(['doctor', '--json'], { env });
  t.equal(doctor.exit, 1);
  t.match(JSON.parse(doctor.out), {
    ok: false,
    checks: [{ name: 'configuration', ok: false, detail: /PORT must/ }],
  });
});

t.test('what is bad is exit 1: a failed key test, a broken journal', async (t) => {
  const { url } = await gateway(t, {
    [`GET /api/api-keys/${keyId}`]: [200, { id: keyId, sealId: null }],
    'POST /api/api-keys/test': [
      200,
      {
        keyId,
        ok: false,
        status: 401,
        code: 'UPSTREAM_AUTH',
        ms: 2,
        message: 'API key test failed: refused',
        testedAt: 'x',
      },
    ],
  });
  const tested = await run(['keys', 'test', keyId], {
    env: { SALLYPORT_ADMIN_TOKEN: adminToken, SALLYPORT_URL: url },
  });
  t.match(tested, { exit: 1, out: /API key test failed/ });
  const problems = [{ stream: 'n:b', seq: 3, kind: 'hash', message: 'changed' }];
  const deps: Partial<CliDeps> = {
    verifyJournal: ({ dir }) =>
      Promise.resolve({
        ok: dir === null,
        streams: 1,
        records: 4,
        openCalls: 0,
        checkpoints: 2,
        problems: dir === null ? [] : problems,
      }),
    serve: ({ keysFd }) => Promise.resolve(keysFd === 3 ? 0 : 9),
  };
  t.match(await run(['journal', 'verify', '--json'], { deps }), { exit: 0 });
  const broken = await run(['journal', 'verify', '--dir', '/copy', '--json'], { deps });
  t.match(broken, { exit: 1, err: '' });
  t.same(JSON.parse(broken.out), {
    ok: false,
    streams: 1,
    records: 4,
    openCalls: 0,
    checkpoints: 2,
    problems,
  });
  t.match(await run(['serve', '--keys-fd=3'], { deps }), { exit: 0 });
  t.match(await run(['serve', '--keys-fd=0'], { deps }), { exit: 2 });
});

t.test('an error’s text is scrubbed, and an id of another kind is not found without asking', async (t) => {
  const secret = mintToken('spt').text;
  const deps: Partial<CliDeps> = {
    migrate: () => Promise.reject(new Error(`password of postgres://u:hunter2@db and ${secret}`)),
  };
  const failed = await run(['migrate', '--json'], { deps });
  t.match(failed, { exit: 1, err: /"INTERNAL"/ });
  t.notMatch(failed.err, /hunter2/);
  t.notMatch(failed.err, secret);
  const errno = Object.assign(new Error('no'), { code: 'ENOSPC', syscall: 'write' });
  t.match(await run(['migrate'], { deps: { migrate: () => Promise.reject(errno) } }), { exit: 4 });
  const readOnly = Object.assign(new Error('no'), { code: 'EROFS', syscall: 'open', path: '/data' });
  t.match(await run(['migrate'], { deps: { migrate: () => Promise.reject(readOnly) } }), {
    exit: 4,
    err: /Mount the disk of DATA_DIR, .* writable/,
  });
  const made = Object.assign(new Error('no'), { code: 'ENOENT', syscall: 'mkdir', path: '/data/run' });
  t.match(await run(['migrate'], { deps: { migrate: () => Promise.reject(made) } }), {
    exit: 4,
    err: /mounted read-only, or behind a link/,
  });
  t.match(await run(['keys', 'rm', '../tokens', '--json']), { exit: 3, err: /"NOT_FOUND"/ });
  t.match(await run(['tokens', 'revoke', keyId]), { exit: 3 });
});

t.test('a file that may not be used is a matter of its owner, and named', async (t) => {
  const dir = folder(t);
  const file = join(dir, 'segment.jsonl');
  writeFileSync(file, '', { mode: 0o600 });
  const { uid } = statSync(file);
  const owner = uid === 0 ? 'root' : `uid ${uid}`;
  const failing = async (path: string) => {
    const denied = Object.assign(new Error('no'), { code: 'EACCES', syscall: 'open', path });
    return run(['migrate'], { deps: { migrate: () => Promise.reject(denied) } });
  };
  const { exit, err } = await failing(file);
  t.equal(exit, 78);
  t.ok(
    err.includes(`${file} cannot be used (EACCES): it belongs to ${owner} (mode 0600), and this runs as`),
    err,
  );
  t.match(
    err,
    /\(CONFIG_INVALID\)\n {2}Run this as the user that the gateway runs as.*chown -R USER DATA_DIR/,
  );
  const hidden = await failing(join(dir, 'none', 'hidden.jsonl'));
  t.ok(hidden.err.includes(`: ${dir} belongs to ${owner}`), hidden.err);
});

t.test('a reader that goes away in the middle of an export is no failure', async (t) => {
  const { url } = await gateway(t, { 'GET /api/audit': [200, 'a record\n'.repeat(100_000)] });
  const error = new PassThrough();
  const output = new Writable({
    write: (_chunk, _encoding, done) =>
      done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE', syscall: 'write' })),
  });
  output.on('error', () => {});
  const exit = await runCli({
    argv: ['audit', 'export', '--url', url],
    terminal: { input: Readable.from([]), output, error },
    version: '1.2.3',
    readConfig: () => readConfig({ DATA_DIR: '/nonexistent', SALLYPORT_ADMIN_TOKEN: adminToken }),
    loadDeps: () => Promise.resolve(noDeps),
  });
  t.same([exit, said(error)], [0, '']);
});

t.test('a token that went into a file on a full disk is not told as made and shown', async (t) => {
  const { url } = await gateway(t, {
    'POST /api/tokens': [201, { id: tokenId, name: 'x', kind: 'gateway', token: 'spt_not-a-real-one' }],
  });
  for (const [code, expected] of [
    ['ENOSPC', 4],
    ['EPIPE', 0],
  ] as const) {
    const error = new PassThrough();
    // As Node's own streams for files: it tells of it after the write.
    const output = new Writable({
      write: (_chunk, _encoding, done) =>
        done(Object.assign(new Error(`${code}: no, write`), { code, syscall: 'write' })),
    });
    output.on('error', () => {});
    const exit = await runCli({
      argv: ['tokens', 'create', '--name', 'x', '--json', '--url', url],
      terminal: { input: Readable.from([]), output, error },
      version: '1.2.3',
      readConfig: () => readConfig({ DATA_DIR: '/nonexistent', SALLYPORT_ADMIN_TOKEN: adminToken }),
      loadDeps: () => Promise.resolve(noDeps),
    });
    t.equal(exit, expected, code);
    if (expected === 0) t.equal(said(error), '');
    else t.match(JSON.parse(said(error)), { message: /ENOSPC: no, write.*was done/, fix: /Make room/ });
  }
});
