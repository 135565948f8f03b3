import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { tlsFolder } from '../support/tls-files.ts';
import { scriptUpstream, testCa } from '../support/upstream.ts';

const key = 'sk-the-stored-key-0123456789';

t.test(
  'behind a trusted proxy, what did not come to it by https is refused before its token is looked at',
  async (t) => {
    const upstream = await scriptUpstream(t, { key });
    const gateway = await startGateway(t, {
      upstreams: { openai: upstream.origin },
      settings: { TRUSTED_PROXIES: '127.0.0.1', REQUIRE_TLS: 'true', CORS_ORIGINS: 'https://app.example' },
    });
    const secure = { 'x-forwarded-proto': 'https' };
    const asked = async (path: string, headers: Record<string, string | string[]>) =>
      ask(gateway.origin + path, { headers });
    const admin = { authorization: `Bearer ${gateway.adminToken}` };
    const token = { authorization: `Bearer ${gateway.token}` };
    const stored = await ask(`${gateway.origin}/api/api-keys`, {
      headers: { ...admin, ...secure },
      body: { name: 'main', provider: 'openai', value: key, force: true },
    });
    t.equal(stored.status, 201);
    t.equal((await asked('/openai/v1/models', { ...token, ...secure })).status, 200);
    t.equal((await asked('/openai/v1/models', secure)).status, 401);

    const proxied: Record<string, Record<string, string | string[]>> = {
      'without a word': {},
      'over http': { 'x-forwarded-proto': 'http' },
      'over both': { 'x-forwarded-proto': ['https', 'http'] },
      'over a list': { 'x-forwarded-proto': 'https,http' },
      'by another header': { forwarded: 'proto=https', 'x-forwarded-ssl': 'on' },
    };
    for (const [name, headers] of Object.entries(proxied)) {
      const call = await asked('/openai/v1/models', { ...token, ...headers });
      t.match([call.status, call.header('x-sallyport-code')], [403, 'TLS_REQUIRED'], name);
      t.match(call.json().error.message, /replace the token/);
      t.match((await asked('/api/tokens', { ...admin, ...headers })).json(), { code: 'TLS_REQUIRED' }, name);
      t.equal((await asked('/metrics', { ...admin, ...headers, 'x-forwarded-for': '1.2.3.4' })).status, 403);
    }
    t.match((await asked('/api/tokens', {})).json(), { code: 'TLS_REQUIRED' }, 'no token is asked for');
    for (const path of ['/healthz', '/readyz', '/']) t.equal((await asked(path, {})).status, 200, path);
    t.equal(upstream.requests.length, 1);
  },
);

t.test('what a trusted proxy says of its own client goes before our TLS to the proxy', async (t) => {
  const files = tlsFolder(t);
  const gateway = await startGateway(t, {
    settings: { ...files.settings, TRUSTED_PROXIES: '127.0.0.1', REQUIRE_TLS: 'true' },
  });
  const status = async (headers: Record<string, string>): Promise<number> => {
    const all = { authorization: `Bearer ${gateway.adminToken}`, ...headers };
    return (await ask(`${gateway.origin}/api/tokens`, { headers: all, tls: { ca: testCa } })).status;
  };
  t.equal(await status({}), 200);
  t.equal(await status({ 'x-forwarded-proto': 'https' }), 200);
  t.equal(await status({ 'x-forwarded-proto': 'http' }), 403);
});
