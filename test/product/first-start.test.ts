import { readFileSync, statSync, readdirSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { installProduct } from '../support/product.ts';
import { scriptUpstream } from '../support/upstream.ts';

const key = 'sk-environment-0123456789abcdef';
const answer = { choices: [], usage: { prompt_tokens: 4, completion_tokens: 2 } };
const messages = [{ role: 'user', content: 'hi' }];

function call(origin: string, token: string, model = 'gpt-4o-mini'): Promise<Response> {
  return fetch(`${origin}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, messages }),
  });
}

t.test(
  'a first start with a key in its environment serves the operator at once, and nobody else',
  async (t) => {
    const upstream = await scriptUpstream(t, { key, script: [{ body: answer }] });
    const product = await installProduct(t, {
      settings: {
        OPENAI_API_KEY: key,
        SALLYPORT_OPENAI_ORIGIN: upstream.origin,
        IMPORT_ENV_KEYS: 'first-start',
        LOG_LEVEL: 'info',
      },
    });
    const serving = await product.serve();

    const file = path.join(product.dataDir, 'first-start.json');
    const first = JSON.parse(readFileSync(file, 'utf8'));
    t.match(first, {
      workspaceId: /^ws_[0-9a-f]{32}$/,
      adminToken: /^spa_[0-9A-Za-z]{61}$/,
      token: /^spt_[0-9A-Za-z]{61}$/,
      baseUrl: serving.origin,
    });
    t.equal(statSync(file).mode & 0o777, 0o600);
    t.equal(statSync(path.join(product.dataDir, 'keyring.json')).mode & 0o777, 0o600);
    t.equal(statSync(path.join(product.dataDir, 'run', 'admin.sock')).mode & 0o777, 0o600);

    const operators = await call(serving.origin, first.token);
    t.equal(operators.status, 200);
    t.equal(operators.headers.get('x-sallyport-key-source'), 'managed');
    t.equal(upstream.requests.at(-1)?.headers.authorization, `Bearer ${key}`);

    const customer = await product.run(['users', 'create', '--name', 'Customer', '--external-id', 'c-1']);
    const { token } = await product.run(['tokens', 'create', '--name', 'app', '--user', customer.id]);
    const refused = await call(serving.origin, token);
    t.equal(refused.status, 409);
    t.equal(refused.headers.get('x-sallyport-code'), 'KEY_MISSING');
    const switched = await fetch(`${serving.origin}/api/workspaces/current`, {
      method: 'PATCH',
      headers: { authorization: `Bearer ${first.adminToken}`, 'content-type': 'application/json' },
      body: '{"managedKeys":true}',
    });
    t.equal(switched.status, 200);
    const deadline = Date.now() + 1000;
    let status = 0;
    while (status !== 200 && Date.now() < deadline) status = (await call(serving.origin, token)).status;
    t.equal(status, 200, 'within a second of the switch');

    if (process.platform === 'linux') {
      for (const name of ['environ', 'cmdline']) {
        t.notOk(
          readFileSync(`/proc/${serving.pid}/${name}`).includes(key),
          `the key is not in /proc/PID/${name}`,
        );
      }
    }
    const said = Buffer.concat(product.said).toString('utf8');
    t.notMatch(said, key);
    t.notMatch(said, first.token, 'tokens are not in a log');
    t.match(said, /OPENAI_API_KEY → openai/);
    t.match(said, /curl -N /);

    serving.signal('SIGINT');
    t.equal(await serving.ended, 0);
    t.same(readdirSync(path.join(product.dataDir, 'run')), [], 'no socket is left');
  },
);

t.test(
  'init, then serve: nothing is minted twice, and commands find their way to whatever runs',
  async (t) => {
    const upstream = await scriptUpstream(t, { key, script: [{ body: answer }] });
    const product = await installProduct(t, { settings: { SALLYPORT_OPENAI_ORIGIN: upstream.origin } });
    const made = await product.run(['init']);
    t.match(made, { workspaceId: /^ws_/, adminToken: /^spa_/, token: /^spt_/ });
    await t.rejects(product.run(['init']), { message: /ended with 1: .*ALREADY_INITIALISED/s });
    const added = await product.run(
      ['keys', 'add', '--provider', 'openai', '--name', 'main', '--force'],
      key,
    );
    t.match(added, { id: /^key_/, name: 'main', provider: 'openai' });

    const serving = await product.serve();
    t.notOk(readdirSync(product.dataDir).includes('first-start.json'));
    t.equal((await call(serving.origin, made.token)).status, 200, 'the key that was stored offline');
    const { data } = await product.run(['keys', 'list']);
    t.equal(data.length, 1);
    t.notMatch(JSON.stringify(data), key);
    t.match(await product.run(['keys', 'test', added.id]), { keyId: added.id, ok: true, status: 200 });

    const minted = await product.run(['tokens', 'create', '--name', 'second']);
    t.equal((await call(serving.origin, minted.token)).status, 200);
    t.match(await product.run(['tokens', 'revoke', minted.id]), { id: minted.id, status: 'revoked' });
    const deadline = Date.now() + 1000;
    let status = 200;
    while (status === 200 && Date.now() < deadline)
      status = (await call(serving.origin, minted.token)).status;
    t.equal(status, 401, 'refused within a second');

    const another = await product.run(['workspaces', 'create', '--name', 'other']);
    t.equal(
      (await call(serving.origin, another.token)).status,
      409,
      'another workspace has no key of this one',
    );
    await t.test('Ollama on loopback needs no key: an operator’s command is permission enough', async (t) => {
      const ollama = await scriptUpstream(t, { script: [{ body: answer }] });
      await product.run(
        `keys add --provider custom --name ollama --origin ${ollama.origin} --auth none`.split(' '),
      );
      const response = await call(serving.origin, made.token, 'ollama/llama3.2');
      t.equal(response.status, 200);
      const [request] = ollama.requests;
      t.equal(request?.path, '/v1/chat/completions');
      t.equal(JSON.parse(request?.body.toString() ?? '').model, 'llama3.2');
      t.equal(request?.headers.authorization, undefined);
      const plain = await fetch(`${serving.origin}/custom/ollama/api/tags`, {
        headers: { 'x-api-key': made.token },
      });
      t.equal(plain.status, 200);
      t.equal(ollama.requests[1]?.path, '/api/tags');
    });
    t.match(await product.run(['journal', 'verify']), { ok: true, openCalls: 0, problems: [] });
    t.match(await product.run(['tokens', 'create', '--admin', '--name', 'lost']), { token: /^spa_/ });

    serving.signal('SIGTERM');
    t.equal(await serving.ended, 0);
    const usage = await product.run(['usage']);
    t.match(usage.totals, { failed: 0 });
    t.ok(usage.totals.calls >= 3, 'calls and the test of the key');
    t.match(await product.run(['keys', 'rm', added.id]), { id: added.id, deleted: true, receipt: /\.\d+\./ });
    t.match(await product.run(['doctor']), { ok: true });
  },
);
