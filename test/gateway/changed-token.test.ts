import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { ask, type Answered } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const key = 'sk-test-changed-0123456789abcdef';
const upstream = await scriptUpstream(t, { key, script: [{ body: { choices: [], usage: {} } }] });
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
await gateway.addKey('openai', key);
const made = (await gateway.api('POST', '/tokens', { name: 'changed' })).body;

const call = (): Promise<Answered> =>
  ask(`${gateway.origin}/v1/chat/completions`, {
    headers: { 'x-api-key': made.token },
    body: { model: 'gpt-4o' },
  });

/** Asks until the answer is this one: with this code, or null where it is good. @returns ms */
async function until(code: string | null): Promise<number> {
  const from = performance.now();
  for (;;) {
    const answer = await call();
    const ms = performance.now() - from;
    if (answer.header('x-sallyport-code') === code) return ms;
    if (ms > 5000) throw new Error(`still ${answer.status} ${answer.header('x-sallyport-code')}`);
  }
}

t.test('a token that was changed is held to what is new within a second, and keeps its text', async (t) => {
  const change = (to: object) => gateway.api('PATCH', `/tokens/${made.id}`, to);
  t.ok((await until(null)) < 1000);
  for (const [to, code] of [
    [{ models: ['gpt-4.1*'] }, 'MODEL_FORBIDDEN'],
    [{ models: null }, null],
    [{ providers: ['anthropic'] }, 'FORBIDDEN'],
    [{ providers: null, networks: ['192.0.2.0/24'] }, 'FORBIDDEN'],
    [{ networks: null }, null],
    [{ requestsPerMinute: 1 }, 'RATE_LIMITED'],
    [{ requestsPerMinute: 10_000 }, null],
  ] as const) {
    t.equal((await change(to)).status, 200);
    const ms = await until(code);
    t.ok(ms < 1000, `${JSON.stringify(to)}: ${code} after ${Math.round(ms)} ms`);
  }
});
