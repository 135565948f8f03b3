import { request as httpRequest } from 'node:http';
import t from 'tap';
import { mintToken } from '../../src/ids.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

const googleKey = 'AIzaSyA-hostile-caller-0123456789abcdefg';

/** fetch would write another path than the one that is given. */
async function post(
  origin: string,
  token: string,
  path: string,
): Promise<{ status: number; code: string | undefined }> {
  return new Promise((resolve, reject) => {
    httpRequest(
      origin,
      {
        method: 'POST',
        path,
        headers: { 'x-goog-api-key': token, 'content-type': 'application/json' },
      },
      (answer) => {
        answer.resume().on('end', () => {
          const code = answer.headers['x-sallyport-code'];
          resolve({ status: answer.statusCode ?? 0, code: typeof code === 'string' ? code : undefined });
        });
      },
    )
      .on('error', reject)
      .end('{"model":"gemini-2.5-flash","contents":[]}');
  });
}

t.test('a token that may use one Gemini model cannot reach another by escaping its path', async (t) => {
  const upstream = await scriptUpstream(t, {
    key: googleKey,
    script: [{ body: { candidates: [] } }, { body: { candidates: [] } }],
  });
  const gateway = await startGateway(t, { upstreams: { google: upstream.origin } });
  await gateway.addKey('google', googleKey);
  const made = await gateway.api('POST', '/tokens', { name: 'narrow', models: ['gemini-2.5-flash'] });
  const narrow: string = made.body.token;

  for (const path of [
    '/google/v1beta/models/gemini-2.5-pro:generateContent',
    '/google/v1beta/%6Dodels/gemini-2.5-pro:generateContent',
    '/google/v1beta/model%73/gemini-2.5-pro:generateContent',
    '/google/v1beta/tuned%4dodels/mine:generateContent',
    '/google/v1beta/%74unedModels/mine:generateContent',
    '/google/v1beta/models/gemini-2.5-pro%3AgenerateContent',
  ]) {
    t.same(await post(gateway.origin, narrow, path), { status: 403, code: 'MODEL_FORBIDDEN' }, path);
  }
  t.equal(upstream.requests.length, 0);
  const allowed = '/google/v1beta/%6Dodels/gemini-2.5-flash:generateContent';
  t.equal((await post(gateway.origin, narrow, allowed)).status, 200);
  t.equal(upstream.requests[0]?.path, allowed.slice('/google'.length), 'the bytes of the path stay');
});

t.test('behind a local proxy metrics are for admin tokens, and no place to guess them', async (t) => {
  const gateway = await startGateway(t);
  const scrape = async (token: string) => {
    const headers = { authorization: `Bearer ${token}`, 'x-forwarded-for': '192.0.2.1' };
    return (await fetch(`${gateway.origin}/metrics`, { headers })).status;
  };
  t.equal(await scrape(gateway.adminToken), 200);
  for (let i = 0; i < 40; i += 1) t.equal(await scrape(mintToken('spa').text), 403);
  t.equal(await scrape(gateway.adminToken), 403, 'the address is held off, as it is at /api');
});

t.test('a proxy that nobody trusts is no private way for a key, however it says what it is', async (t) => {
  const gateway = await startGateway(t);
  for (const name of ['x-forwarded-for', 'forwarded', 'x-real-ip', 'via']) {
    const answer = await fetch(`${gateway.origin}/api/api-keys`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${gateway.adminToken}`,
        'content-type': 'application/json',
        [name]: '192.0.2.1',
      },
      body: JSON.stringify({ name: 'k', provider: 'openai', value: 'sk-over-plain-http-0123456789' }),
    });
    t.match(await answer.json(), { status: 403, code: 'TLS_REQUIRED' }, name);
  }
});

t.test('nobody can take out a restricted key by using it for what it is not for', async (t) => {
  const key = 'sk-test-restricted-0123456789abcdef';
  const scopes = (scope: string): string =>
    `You have insufficient permissions for this operation. Missing scopes: ${scope}. Check that you have the correct role.`;
  let probes = 0;
  const upstream = await scriptUpstream(t, {
    key,
    script: ({ path }) => {
      if (path === '/v1/chat/completions') return { body: { choices: [] } };
      probes += path === '/v1/models' ? 1 : 0;
      const scope = path === '/v1/models' ? 'api.model.read' : 'api.files.read';
      return { status: 401, body: { error: { message: scopes(scope), code: null } } };
    },
  });
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
  const id = await gateway.addKey('openai', key);
  const headers = { 'x-api-key': gateway.token };
  const hostile = await ask(`${gateway.origin}/openai/v1/files`, { headers });
  t.equal(hostile.status, 502);
  await gateway.app.dataPlane.settled();
  t.equal(probes, 1, 'it was tested');
  t.equal((await gateway.api('GET', `/api-keys/${id}`)).body.status, 'active');
  t.match((await gateway.api('POST', '/api-keys/test', { keyId: id })).body, { ok: true });
  const body = { model: 'gpt-4o', messages: [] };
  const answer = await ask(`${gateway.origin}/v1/chat/completions`, { headers, body });
  t.equal(answer.status, 200);
});

t.test('a token for certain models runs no other that stands beside the one it names', async (t) => {
  const key = 'sk-test-beside-0123456789abcdef';
  const upstream = await scriptUpstream(t, { key, script: [{ body: { ok: true } }] });
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
  await gateway.addKey('openai', key);
  await gateway.addKey('custom', key, { name: 'local', origins: [upstream.origin] });
  const models = ['gpt-4o', 'local/*', 'openai/gpt-image-1'];
  const { token } = (await gateway.api('POST', '/tokens', { name: 'x', models })).body;
  const send = async (path: string, body: string, type = 'application/json') => {
    const headers = { 'x-api-key': token, 'content-type': type };
    const answer = await ask(gateway.origin + path, { method: 'POST', headers, body });
    return answer.header('x-sallyport-code') ?? answer.status;
  };
  const tools = (list: string): string => `{"model":"gpt-4o","tools":${list}}`;
  const form = (...fields: string[]): string =>
    `${fields.map((field) => `--b\r\ncontent-disposition: form-data; name=${field}\r\n`).join('')}--b--\r\n`;
  for (const [path, body, type] of [
    ['/v1/responses', tools('[{"type":"image_generation","model":"gpt-image-9"}]')],
    ['/v1/responses', tools('[{"model":"gpt-image-1"},{"mod\\u0065l":"gpt-image-9","model":"gpt-image-1"}]')],
    ['/v1/responses', `{"model":"gpt-4o","tool\\u0073":[{"model":"gpt-image-9"}]}`],
    ['/v1/chat/completions?model=gpt-5', '{"model":"gpt-4o"}'],
    ['/custom/local/listen?model=local&mod%65l=other', '{"model":"gpt-4o"}'],
    [
      '/v1/realtime/calls',
      form('"model"\r\n\r\ngpt-4o', '"session"\r\n\r\n{"model":"gpt-realtime"}'),
      'multipart/form-data; boundary=b',
    ],
  ] as const) {
    const isLocal = path.startsWith('/custom');
    t.equal(await send(path, body, type), isLocal ? 200 : 'MODEL_FORBIDDEN', `${path} ${body}`);
  }
  t.equal(await send('/custom/local/x?model=gpt-4o', '{"model":"gpt-4o"}'), 200);
  t.equal(await send('/v1/responses', tools('[{"type":"image_generation","model":"gpt-image-1"}]')), 200);
  const schema =
    '[{"type":"function","parameters":{"properties":{"model":{"type":"string"}},"required":["model"]}}]';
  t.equal(await send('/v1/responses', tools(schema)), 200, 'a parameter of that name is no model');
});
