import type { Test } from 'tap';
import { ask } from '../../test/support/http-client.ts';
import { scriptUpstream, type Respond, type Upstream } from '../../test/support/upstream.ts';

export interface Tokens {
  readonly token: string;
  readonly adminToken: string;
}

const key = 'sk-proj-dashboards-0123456789abcdefghij';
const refusedKey = 'gsk_dashboards0123456789abcdefghij';

const usage = {
  prompt_tokens: 40,
  completion_tokens: 12,
  prompt_tokens_details: { cached_tokens: 16 },
  completion_tokens_details: { reasoning_tokens: 4 },
};

/** Answers by the model's name: well, with a failure, without usage, or as a stream that waits for `release`. */
function provider(release: Promise<void>): Respond {
  let overloads = 0;
  return (request) => {
    if (request.headers.authorization !== `Bearer ${key}`)
      return { status: 401, body: { error: { message: 'Incorrect API key', code: 'invalid_api_key' } } };
    const body = request.body.toString();
    if (body.includes('"stream":true'))
      return { events: [JSON.stringify({ choices: [{ delta: { content: 'a' } }] }), release, '[DONE]'] };
    if (body.includes('failing')) return { status: 500, body: { error: { message: 'broken' } } };
    if (body.includes('silent')) return { body: { choices: [] } };
    if (body.includes('busy') && (overloads += 1) % 2 === 1)
      return { status: 503, headers: { 'retry-after': '0' }, body: { error: { message: 'overloaded' } } };
    return { body: { choices: [], usage } };
  };
}

export interface MixedTraffic {
  readonly upstream: Upstream;
  /** Keys for it, and a stream that stays open. */
  begin(origin: string, tokens: Tokens): Promise<void>;
  /** Calls of each kind: good ones, failures of the provider and of clients. */
  round(origin: string, tokens: Tokens): Promise<void>;
  end(): Promise<void>;
}

/** All that dashboards show of a gateway, as far as a healthy one has it. */
export async function createMixedTraffic(t: Pick<Test, 'teardown'>): Promise<MixedTraffic> {
  const { promise: release, resolve: end } = Promise.withResolvers<void>();
  const upstream = await scriptUpstream(t, provider(release));
  let stream: Promise<unknown> = Promise.resolve();
  const call = (origin: string, token: string, path: string, body: object | string) =>
    ask(`${origin}${path}`, {
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body,
    });

  return Object.freeze<MixedTraffic>({
    upstream,
    async begin(origin, { adminToken, token }) {
      for (const [name, value] of [
        ['openai', key],
        ['groq', refusedKey],
      ] as const) {
        const made = await call(origin, adminToken, '/api/api-keys', {
          name,
          provider: name,
          value,
          force: true,
        });
        if (made.status !== 201) throw new Error(`no key: ${made.body.toString()}`);
      }
      const begun = Promise.withResolvers<void>();
      stream = ask(`${origin}/v1/chat/completions`, {
        headers: { authorization: `Bearer ${token}` },
        body: { model: 'gpt-4o', messages: [], stream: true },
        onData: () => begun.resolve(),
      });
      await begun.promise;
      await call(origin, token, '/groq/openai/v1/chat/completions', { model: 'llama-3.3-70b-versatile' });
    },
    async round(origin, { token }) {
      for (const model of [
        'gpt-4o',
        'gpt-4o-mini',
        'gpt-of-no-list',
        'gpt-failing',
        'gpt-silent',
        'gpt-busy',
      ])
        await call(origin, token, '/v1/chat/completions', { model, messages: [] });
      await call(origin, token, '/v1/chat/completions', '{"model":');
      await call(origin, `spt_${'a'.repeat(40)}`, '/v1/chat/completions', { model: 'gpt-4o' });
    },
    async end() {
      end();
      await stream;
    },
  });
}
