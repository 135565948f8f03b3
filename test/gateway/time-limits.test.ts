import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import t from 'tap';
import { createLimitsOf } from '../../src/gateway/time-limits.ts';
import { providers } from '../../src/providers/catalogue.ts';
import type { Provider } from '../../src/providers/provider.ts';
import { defaultPolicy } from '../../src/token-policy.ts';
import { startGateway } from '../support/gateway.ts';
import { ask, type Answered } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const at = (provider: string, operation: string) => ({
  provider: providers.get(provider) as Provider,
  operation,
});

t.test('models that think are waited for longer; all else as the specification says', async (t) => {
  const limitsOf = createLimitsOf(new Map());
  const of = (provider: string, operation: string) =>
    limitsOf(at(provider, operation), defaultPolicy.timeouts);
  const plain = {
    connectMs: 5000,
    firstByteMs: 120_000,
    betweenBytesMs: 60_000,
    totalMs: 0,
    writeIdleMs: 120_000,
  };
  t.same(of('openai', 'openai.models'), plain);
  t.same(of('anthropic', 'anthropic.files'), plain);
  for (const [provider, operation] of [
    ['openai', 'openai.chat'],
    ['openai', 'openai.responses'],
    ['xai', 'openai.chat'],
    ['anthropic', 'anthropic.messages'],
    ['google', 'google.stream_generate_content'],
    ['google', 'openai.chat'],
    ['custom', 'openai.other'],
  ] as const)
    t.match(
      of(provider, operation),
      { firstByteMs: 600_000, betweenBytesMs: 300_000, totalMs: 0 },
      operation,
    );
  t.equal(of('openai', 'openai.chat'), of('openai', 'openai.responses'), 'nothing is made for a call');
});

t.test('a token’s limit goes before the operator’s, and that before the built-in one', async (t) => {
  const limitsOf = createLimitsOf(new Map([['openai', { firstByteMs: 900_000, totalMs: 60_000 }]]));
  const usual = limitsOf(at('openai', 'openai.chat'), defaultPolicy.timeouts);
  t.match(usual, { connectMs: 5000, firstByteMs: 900_000, betweenBytesMs: 300_000, totalMs: 60_000 });
  t.equal(limitsOf(at('openai', 'openai.chat'), defaultPolicy.timeouts), usual);
  t.match(limitsOf(at('groq', 'openai.chat'), defaultPolicy.timeouts), { firstByteMs: 600_000, totalMs: 0 });
  const own = { ...defaultPolicy.timeouts, firstByteMs: 10, totalMs: 0 };
  t.match(limitsOf(at('openai', 'openai.chat'), own), {
    firstByteMs: 10,
    totalMs: 0,
    betweenBytesMs: 300_000,
  });
});

/** Takes connections and says nothing: no handshake ever ends. */
const mute = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1');
await once(mute, 'listening');
t.teardown(() => mute.close());
const never = new Promise<void>(() => {});
const upstream = await scriptUpstream(t);
const gateway = await startGateway(t, {
  upstreams: {
    openai: upstream.origin,
    groq: upstream.origin,
    xai: `https://127.0.0.1:${(mute.address() as AddressInfo).port}`,
  },
  settings: { UPSTREAM_TIMEOUTS: 'groq.firstByte=60ms' },
});
for (const provider of ['openai', 'groq', 'xai']) await gateway.addKey(provider, 'sk-test-0123456789abcdef');
const mint = async (timeouts: object): Promise<string> =>
  (await gateway.api('POST', '/tokens', { name: 'x', policy: { timeouts, maxAttempts: 1 } })).body.token;

async function call(token: string, model = 'gpt-4o', stream = false): Promise<Answered> {
  return ask(`${gateway.origin}/v1/chat/completions`, {
    headers: { 'x-api-key': token },
    body: { model, stream },
  });
}

async function endOf(answer: Answered) {
  await gateway.shipped();
  const { body } = await gateway.api('GET', `/usage/calls/${answer.header('x-request-id')}`);
  return body.attempts.at(-1);
}

t.test('each limit has a code of its own, and ends the provider’s call too', async (t) => {
  for (const [timeouts, model, code] of [
    [{ connectMs: 60 }, 'grok-4', 'UPSTREAM_CONNECT_TIMEOUT'],
    [{ firstByteMs: 60 }, 'gpt-4o', 'UPSTREAM_FIRST_BYTE_TIMEOUT'],
    [{}, 'groq/llama', 'UPSTREAM_FIRST_BYTE_TIMEOUT'],
    [{ totalMs: 100 }, 'gpt-4o', 'CALL_TIMEOUT'],
  ] as const) {
    upstream.respond([{ hold: never }]);
    const before = upstream.requests.length;
    const answer = await call(await mint(timeouts), model);
    t.same([answer.status, answer.header('x-sallyport-code')], [504, code]);
    t.equal(answer.header('x-should-retry'), code === 'CALL_TIMEOUT' ? 'false' : null);
    t.match(await endOf(answer), { outcome: code, endReason: 'timeout', final: true });
    if (model !== 'grok-4') await upstream.requests[before]?.gone;
  }
});

t.test('a stream that stops, or takes too long in all, is told to be broken in its dialect', async (t) => {
  upstream.respond([{ events: ['{"choices":[1]}'], ending: 'stall' }]);
  for (const [timeouts, code] of [
    [{ betweenBytesMs: 60 }, 'UPSTREAM_IDLE_TIMEOUT'],
    [{ totalMs: 100 }, 'CALL_TIMEOUT'],
  ] as const) {
    const answer = await call(await mint(timeouts), 'gpt-4o', true);
    t.equal(answer.status, 200);
    t.notOk(answer.isWhole);
    t.match(answer.body.toString(), new RegExp(`"choices":\\[1\\]\\}\n\n\n\ndata: .*"code":"${code}"`));
    t.notMatch(answer.body.toString(), /\[DONE\]/);
    t.match(await endOf(answer), { outcome: code, endReason: 'timeout' });
  }
});

t.test('a token that is for certain networks and endpoints goes no further, and reads no body', async (t) => {
  upstream.respond([{ body: { ok: true } }]);
  const bound = async (more: object): Promise<Answered> => {
    const { body } = await gateway.api('POST', '/tokens', { name: 'x', ...more });
    return call(body.token);
  };
  t.equal((await bound({ networks: ['127.0.0.0/8', '2001:db8::/32'] })).status, 200);
  const away = await bound({ networks: ['10.0.0.0/8', '2001:db8::/32'] });
  t.same([away.status, away.header('x-sallyport-code')], [403, 'FORBIDDEN']);
  t.equal((await bound({ endpoints: ['openai.chat'] })).status, 200);
  const other = await bound({ endpoints: ['openai.embeddings', 'openai.models'] });
  t.same([other.status, other.header('x-sallyport-code')], [403, 'ENDPOINT_FORBIDDEN']);
  t.match(other.json().error.message, /openai\.embeddings, openai\.models, and the call is openai\.chat/);
});
