import { once } from 'node:events';
import { request } from 'node:http';
import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { scriptUpstream } from '../support/upstream.ts';

const body = JSON.stringify({ model: 'gpt-4o', messages: [] });

/** By node:http, because fetch sends no `upgrade`. */
async function send(url: string, method: string, headers: Record<string, string>) {
  const outgoing = request(url, { method, headers });
  outgoing.end(method === 'POST' ? body : undefined);
  const [answer] = await once(outgoing, 'response');
  answer.resume();
  return { status: answer.statusCode, code: answer.headers['x-sallyport-code'] };
}

t.test('what this version does not offer is refused before a key is opened, not ignored', async (t) => {
  const key = 'sk-the-stored-key-0123456789';
  const upstream = await scriptUpstream(t, { key, script: [{ body: {} }] });
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
  await gateway.addKey('openai', key);
  const chat = `${gateway.origin}/v1/chat/completions`;
  const bearer = { authorization: `Bearer ${gateway.token}`, 'content-type': 'application/json' };

  // A half of a handshake: the rest of them are in realtime.test.ts.
  const socket = { authorization: bearer.authorization, connection: 'keep-alive', upgrade: 'websocket' };
  const realtime = `${gateway.origin}/v1/realtime?model=gpt-realtime`;
  t.match(await send(realtime, 'GET', socket), { status: 400, code: 'REQUEST_INVALID' });

  t.equal(upstream.requests.length, 0);
  t.notMatch(await gateway.metrics(), /^sallyport_key_opens_total\{[^}]*\} [^0]/m);

  const offer = { ...bearer, connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c' };
  t.match(await send(chat, 'POST', offer), { status: 200 }, 'an offer of HTTP/2 is passed over');
});

t.test('a body whose model cannot be read goes to nobody by default', async (t) => {
  const key = 'sk-the-stored-key-0123456789';
  const upstream = await scriptUpstream(t, { key, script: [{ body: {} }] });
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
  await gateway.addKey('openai', key);
  const authorization = `Bearer ${gateway.token}`;
  for (const type of ['application/x-www-form-urlencoded', 'text/plain; charset=utf-8']) {
    const headers = { authorization, 'content-type': type };
    t.match(await send(`${gateway.origin}/v1/chat/completions`, 'POST', headers), {
      status: 400,
      code: 'REQUEST_INVALID',
    });
  }
  t.equal(upstream.requests.length, 0);
});
