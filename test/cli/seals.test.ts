import { PassThrough, Readable } from 'node:stream';
import t from 'tap';
import { type Program, runCli } from '../../src/cli/run.ts';
import { readConfig } from '../../src/config.ts';
import type { SealDerivation } from '../../src/db/schema.ts';
import { parseSealSecret } from '../../src/seal-text.ts';
import { secretOfPassphrase } from '../../src/vault/seal-derivation.ts';
import { startGateway } from '../support/gateway.ts';
import { newSeal } from '../support/seal.ts';
import { scriptUpstream } from '../support/upstream.ts';
import { said } from '../support/said.ts';

const value = 'sk-proj-the-value-that-is-sealed-0123456789';
const upstream = await scriptUpstream(t, { key: value, script: () => ({ body: { data: [] } }) });
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });

interface Result {
  readonly exit: number;
  readonly err: string;
  // Commands print documents of their own.
  readonly json: any;
}

/** One command with --json, over the network, or (offline) straight into the gateway as the operator. */
async function run(
  line: string,
  { input = '', seal = '', isOffline = false }: { input?: string; seal?: string; isOffline?: boolean } = {},
): Promise<Result> {
  const [output, error] = [new PassThrough(), new PassThrough()];
  const way = isOffline ? {} : { SALLYPORT_URL: gateway.origin, SALLYPORT_ADMIN_TOKEN: gateway.adminToken };
  const { operator } = gateway.app;
  const program: Program = {
    argv: [...line.split(' '), '--json'],
    terminal: { input: Readable.from(input === '' ? [] : [Buffer.from(input)]), output, error },
    version: '1.2.3',
    readConfig: () =>
      readConfig({ DATA_DIR: '/nonexistent', ...way, ...(seal === '' ? {} : { SALLYPORT_SEAL: seal }) }),
    loadDeps: async () =>
      ({
        openOffline: async () => ({
          request: (...asked: Parameters<typeof operator.inject>) => operator.inject(...asked),
          close: async () => {},
        }),
      }) as unknown as Awaited<ReturnType<Program['loadDeps']>>,
  };
  const exit = await runCli(program);
  const [out, err] = [said(output), said(error)];
  return { exit, err, json: out === '' ? null : JSON.parse(out) };
}

for (const isOffline of [false, true]) {
  t.test(
    `a key that is sealed here is used with its seal alone, ${isOffline ? 'offline' : 'over the network'}`,
    async (t) => {
      const way = { isOffline };
      const made = await run('seals create --name laptop', way);
      t.equal(made.exit, 0, made.err);
      t.match(made.json, { id: /^seal_/, name: 'laptop', seal: /^sps_/ });
      const { id, seal, publicKey } = made.json;
      t.equal(newSeal(parseSealSecret(seal) as Buffer).publicKey, publicKey);

      const add = `keys add --provider openai --name sealed --seal ${id}`;
      const added = await run(add, { ...way, input: `${value}\n` });
      t.equal(added.exit, 0, added.err);
      const { body: key } = await gateway.api('GET', `/api-keys/${added.json.id}`);
      t.match(key, { protection: 'sealed', sealId: id, last4: null, fingerprint: null });

      const test = `keys test ${key.id}`;
      t.match(await run(test, { ...way, seal }), { exit: 0, json: { ok: true, status: 200 } });
      t.match(
        await run(test, { ...way, input: `${seal}\n` }),
        { exit: 0, json: { ok: true } },
        'from standard input',
      );
      t.match(await run(test, { ...way, seal: newSeal().secret }), { exit: 1, json: { code: 'SEAL_WRONG' } });
      t.match(await run(test, { ...way, input: 'sps_x' }), { exit: 1, json: null, err: /SEAL_WRONG/ });
      const bare = await gateway.api('POST', '/api-keys/test', { keyId: key.id });
      t.match(bare, { status: 200, body: { ok: false, code: 'SEAL_REQUIRED' } }, 'without its seal');

      const replaced = await run(`keys replace ${key.id}`, { ...way, input: value });
      t.same(replaced.json, { id: key.id, version: 2, isSameValue: null, duplicates: [] });
      t.match(await run(test, { ...way, seal }), { exit: 0, json: { ok: true } });

      const next = (await run('seals create --name next', way)).json;
      const lines = `${seal}\n${next.seal}\n`;
      const moved = await run(`seals reseal ${next.id} --keys ${key.id}`, { ...way, input: lines });
      t.same(moved.json, { sealId: next.id, keyIds: [key.id] }, moved.err);
      t.match(await run(test, { ...way, seal: next.seal }), { exit: 0, json: { ok: true } });
      t.match(await run(test, { ...way, seal }), { exit: 1, json: { code: 'SEAL_WRONG' } });
      const back = await run(`seals reseal ${id}`, { ...way, seal: next.seal, input: seal });
      t.same(back.json, { sealId: id, keyIds: [key.id] }, 'the old secret from the setting');

      t.match(await run(`seals rm ${id}`, way), { exit: 1, err: /"CONFLICT"/ });
      t.equal((await run(`keys rm ${key.id}`, way)).exit, 0);
      t.match(await run(`seals rm ${id}`, way), { exit: 0, json: { id, deleted: true } });
      const listed = await run('seals list', way);
      t.match(listed.json.data, [{ id: next.id, keys: 0 }]);
      t.equal((await run(`seals rm ${next.id}`, way)).exit, 0);
    },
  );
}

t.test('what the gateway cannot check of a sealed key is checked here, and nothing is sent', async (t) => {
  const { id, seal } = (await run('seals create --name a')).json;
  const add = `keys add --provider openai --name k --seal ${id}`;
  for (const input of ['gsk_another-provider-0123456789', 'sk-\u0001bad0123456789', 'short', seal]) {
    const refused = await run(add, { input });
    t.match(refused, { exit: 1, err: /"KEY_FORMAT"/ }, input.slice(0, 4));
    t.notMatch(refused.err, input);
  }
  t.match(await run(`${add} --force`, { input: 'gsk_another-provider-0123456789' }), { exit: 0 });
  t.match(await run(add, { input: value, seal: newSeal().secret }), { exit: 1, err: /"SEAL_WRONG"/ });
  t.match(await run(add, { input: value, seal }), { exit: 0 }, 'the public key derived from the secret');
  t.match(await run(`${add}0`, { input: value }), { exit: 3 });
  t.match(await run(`${add} --auth none`), { exit: 2 });
  t.match(await run('keys add --provider nobody --name k --seal ' + id, { input: value }), { exit: 2 });
});

t.test('a gateway that names another public key is found out by whoever has the secret', async (t) => {
  const { id, seal } = (await run('seals create --name exchanged')).json;
  const thief = newSeal();
  const { operator } = gateway.app;
  const [output, error] = [new PassThrough(), new PassThrough()];
  const sent: string[] = [];
  const exit = await runCli({
    argv: ['keys', 'add', '--provider', 'openai', '--name', 'k', '--seal', id, '--json'],
    terminal: { input: Readable.from([Buffer.from(value)]), output, error },
    version: '1.2.3',
    readConfig: () => readConfig({ DATA_DIR: '/nonexistent', SALLYPORT_SEAL: seal }),
    loadDeps: async () =>
      ({
        openOffline: async () => ({
          async request(method: string, path: string, body: Buffer | null) {
            sent.push(`${method} ${path}`);
            const answer = await operator.inject(method, path, body);
            const text = answer.body
              .toString()
              .replace(newSeal(parseSealSecret(seal) as Buffer).publicKey, thief.publicKey);
            return { ...answer, body: Buffer.from(text) };
          },
          close: async () => {},
        }),
      }) as unknown as Awaited<ReturnType<Program['loadDeps']>>,
  });
  t.equal(exit, 1);
  t.match(said(error), /"SEAL_WRONG"/);
  t.notOk(
    sent.some((line) => line.startsWith('POST')),
    'no key left this program',
  );
});

t.test('a passphrase gives its seal again, and another one does not', async (t) => {
  const passphrase = 'six words that nobody has put together';
  const made = await run('seals create --name words --passphrase', { input: `${passphrase}\n` });
  t.equal(made.exit, 0, made.err);
  const { id, seal } = made.json;
  const { body } = await gateway.api('GET', `/seals/${id}`);
  t.match(body.derivation, { type: 'argon2id', memoryKiB: 65_536, passes: 3, parallelism: 1 });
  t.match(await run(`seals secret ${id}`, { input: passphrase }), { exit: 0, json: { id, seal } });
  t.match(await run(`seals secret ${id}`, { input: `${passphrase}!` }), { exit: 1, err: /"SEAL_WRONG"/ });
  t.match(await run('seals create --name x --passphrase', { input: 'eleven char' }), {
    exit: 2,
    err: /12 characters/,
  });
  t.match(await run('seals create --name x --passphrase'), { exit: 2 });
  const random = (await run('seals create --name random')).json;
  t.match(await run(`seals secret ${random.id}`, { input: passphrase }), { exit: 1, err: /"CONFLICT"/ });
});

t.test('a gateway that lies about a derivation costs its client neither memory nor time', async (t) => {
  const honest = { type: 'argon2id', salt: 'A'.repeat(22), memoryKiB: 65_536, passes: 3, parallelism: 1 };
  for (const lie of [
    { memoryKiB: 16 * 1024 * 1024 },
    { memoryKiB: 1e300 },
    { passes: 1_000_000 },
    { parallelism: 16_777_215 },
    { salt: 'A'.repeat(1 << 20) },
    { salt: { length: 2 ** 31 } },
    { salt: null },
    { type: 'scrypt' },
  ])
    await t.rejects(
      secretOfPassphrase(Buffer.from('six words that nobody has'), { ...honest, ...lie } as SealDerivation),
      { name: 'RangeError' },
      JSON.stringify(lie).slice(0, 60),
    );
});

t.test('the secret of a seal is never an argument', async (t) => {
  const { secret } = newSeal();
  for (const line of [
    `seals rm ${secret}`,
    `keys test ${secret}`,
    `keys add --provider openai --name k --seal ${secret}`,
    `keys add --provider openai --name k --seal=${secret}`,
    `seals reseal seal_1 --old ${secret}`,
    'seals secret seal_1 --secret x',
    'keys replace key_1 --value x',
  ]) {
    const refused = await run(line);
    t.match(refused, { exit: 2, err: /"REQUEST_INVALID"/ }, line.slice(0, 20));
    t.notMatch(refused.err, secret);
  }
  const dashes = `sps_${'-'.repeat(43)}000000`;
  t.match(await run(`keys test ${dashes}`), { exit: 2, err: /history/ }, 'whatever characters it has');
});
