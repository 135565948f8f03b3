import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

const key = 'sk-the-stored-key-0123456789';
const page = 'https://app.example';

t.test(
  'pages of listed origins may call the data plane, and nothing else, and no other page may',
  async (t) => {
    const permissive = {
      'access-control-allow-origin': '*',
      'access-control-allow-credentials': 'true',
      'access-control-expose-headers': 'x-secret',
      vary: 'accept',
    };
    const upstream = await scriptUpstream(t, { key, script: [{ headers: permissive, body: { data: [] } }] });
    const gateway = await startGateway(t, {
      upstreams: { openai: upstream.origin },
      settings: { CORS_ORIGINS: `${page},http://localhost:5173` },
    });
    await gateway.addKey('openai', key);
    const token = { authorization: `Bearer ${gateway.token}` };
    const cors = (headers: readonly (readonly [string, string])[]) =>
      Object.fromEntries(headers.filter(([name]) => name.startsWith('access-control-') || name === 'vary'));
    const preflight = async (path: string, origin: string, more: Record<string, string> = {}) =>
      ask(gateway.origin + path, {
        method: 'OPTIONS',
        headers: {
          origin,
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'authorization,content-type,x-stainless-lang',
          ...more,
        },
      });

    for (const path of ['/v1/chat/completions', '/anthropic/v1/messages', '/custom/mine/x']) {
      const answer = await preflight(path, page);
      t.equal(answer.status, 204, path);
      t.equal(answer.header('x-content-type-options'), 'nosniff');
      t.same(cors(answer.headers), {
        vary: 'origin',
        'access-control-allow-origin': page,
        'access-control-allow-methods': 'GET, HEAD, POST, PUT, PATCH, DELETE',
        'access-control-max-age': '600',
        'access-control-allow-headers': 'authorization,content-type,x-stainless-lang',
      });
    }
    for (const origin of [
      'https://evil.example',
      'http://app.example',
      'https://app.example:8443',
      'https://app.example/',
      'https://app.example.evil.example',
      'HTTPS://APP.EXAMPLE',
      'null',
      '*',
      '',
      `${page}, https://evil.example`,
    ]) {
      const answer = await preflight('/v1/models', origin);
      t.equal(answer.status, 401, `${origin}: a call without a token`);
      t.same(cors(answer.headers), { vary: 'origin' });
      const call = await ask(`${gateway.origin}/openai/v1/models`, { headers: { ...token, origin } });
      t.match([call.status, cors(call.headers)], [200, { vary: 'origin' }], 'what the page may not read');
      t.notOk(Object.keys(cors(call.headers)).length > 1);
    }
    for (const path of ['/api/tokens', '/api/api-keys', '/metrics', '/healthz', '/']) {
      const answer = await preflight(path, page, { authorization: `Bearer ${gateway.adminToken}` });
      t.not(answer.status, 204, path);
      t.notOk(answer.headers.some(([name]) => name.startsWith('access-control-')));
    }

    const readable = {
      vary: 'origin',
      'access-control-allow-origin': page,
      'access-control-expose-headers': '*',
    };
    const relayed = await ask(`${gateway.origin}/openai/v1/models`, { headers: { ...token, origin: page } });
    t.equal(relayed.status, 200);
    t.same(cors(relayed.headers), readable, 'ours, not the provider’s');
    const refused = await ask(`${gateway.origin}/openai/v1/models`, { headers: { origin: page } });
    t.equal(refused.status, 401);
    t.same(cors(refused.headers), readable, 'a page reads why it was refused');
    const plain = await ask(`${gateway.origin}/openai/v1/models`, {
      method: 'OPTIONS',
      headers: { ...token, origin: page },
    });
    t.equal(plain.status, 200, 'an OPTIONS that is no preflight is a call like any other');
    t.equal(upstream.requests.at(-1)?.method, 'OPTIONS');
    t.notOk(upstream.requests.some(({ headers }) => headers.origin !== undefined));
  },
);

t.test('without a list nobody is told anything of origins', async (t) => {
  const gateway = await startGateway(t);
  const answer = await ask(`${gateway.origin}/v1/models`, {
    method: 'OPTIONS',
    headers: { origin: page, 'access-control-request-method': 'GET' },
  });
  t.equal(answer.status, 401);
  t.notOk(answer.headers.some(([name]) => name.startsWith('access-control-') || name === 'vary'));
});
