import type { Test } from 'tap';
import { createApp } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import type { TestGateway } from '../support/gateway.ts';
import { scriptUpstream, type Answer, type SeenRequest } from '../support/upstream.ts';
import { storeSeal } from '../support/sealed-key.ts';
import { gatewayTo, providerKeys } from './stand-in.ts';

/** What a provider says of itself when it refuses; no answer of the gateway's own has these words. */
export const providersWords = 'The provider has words of its own.';

const known: ReadonlySet<string> = new Set(Object.values(providerKeys));

/** Refuses every credential but the stored keys; a prompt `answer 429` gets that status. */
function respond({ headers, body }: SeenRequest): Answer {
  const sent = [
    headers.authorization?.replace(/^Bearer /, ''),
    headers['x-api-key'],
    headers['x-goog-api-key'],
  ];
  const credentials = sent.filter((value) => value !== undefined);
  const error = { type: 'providers_type', message: providersWords, code: 'providers_code' };
  const isAccepted = credentials.length === 1 && known.has(credentials[0] as string);
  if (!isAccepted) return { status: 401, body: { type: 'error', error } };
  const status = Number(/answer (\d{3})/.exec(body.toString())?.[1] ?? 200);
  return { status, headers: { 'retry-after': '7' }, body: { type: 'error', error } };
}

/** A gateway with a user in every trouble that a provider key can be in, and a token for every trouble of its own. */
export async function startErrorWorld(t: Test) {
  const upstream = await scriptUpstream(t, { script: respond });
  const gateway = await gatewayTo(t, upstream.origin, {
    MAX_JSON_BYTES: '4KiB',
    JOURNAL_MAX_BYTES: '16MiB',
  });
  const names = Object.keys(providerKeys) as (keyof typeof providerKeys)[];

  async function mint(more: Readonly<Record<string, unknown>> = {}): Promise<{ id: string; token: string }> {
    const made = await gateway.api('POST', '/tokens', { name: 'e2e', ...more });
    if (made.status !== 201) throw new Error(`a token was refused: ${made.body?.detail}`);
    return made.body;
  }

  /** A user of whom each provider's key is stored with `value` and then changed. */
  async function userWith(
    valueOf: ((name: keyof typeof providerKeys) => string) | null,
    change: Readonly<Record<string, unknown>> | null = null,
    more: Readonly<Record<string, unknown>> = {},
  ): Promise<string> {
    const user = (await gateway.api('POST', '/users', { name: 'e2e' })).body.id as string;
    for (const name of valueOf === null ? [] : names) {
      const id = await gateway.addKey(name, valueOf!(name), { ...more, userId: user });
      if (change === null) continue;
      const changed = await gateway.api('PATCH', `/api-keys/${id}`, change);
      if (changed.status !== 200) throw new Error(`a change was refused: ${changed.body?.detail}`);
    }
    return (await mint({ userId: user })).token;
  }

  const revoked = await mint();
  await gateway.api('DELETE', `/tokens/${revoked.id}`);
  const limited = (await mint({ requestsPerMinute: 1 })).token;
  const first = await fetch(`${gateway.origin}/v1/models`, {
    headers: { authorization: `Bearer ${limited}` },
  });
  await first.arrayBuffer();
  const tokens = {
    revoked: revoked.token,
    limited,
    ofAnotherProvider: (await mint({ providers: ['xai'] })).token,
    ofOtherModels: (await mint({ models: ['some-other-*'] })).token,
    /** Never used before: the gateway has it in no cache. */
    uncached: (await mint()).token,
    withoutKeys: await userWith(null),
    withSealedKeys: await userWith((name) => providerKeys[name], null, {
      protection: 'sealed',
      sealId: (await storeSeal(gateway)).id,
    }),
    withDisabledKeys: await userWith((name) => providerKeys[name], { isActive: false }),
    withExpiredKeys: await userWith((name) => providerKeys[name], { expiresAt: '2020-01-01T00:00:00.000Z' }),
    withWrongKeys: await userWith((name) => providerKeys[name].replace('e2e', 'bad').replace('E2e', 'bad')),
  };
  return { upstream, gateway, tokens, moved: await movedGateway(t, gateway) };
}

export type ErrorWorld = Awaited<ReturnType<typeof startErrorWorld>>;

/** The origin of the same installation, started anew after the operator moved every provider elsewhere. */
async function movedGateway(t: Test, { installation }: TestGateway): Promise<string> {
  const elsewhere = 'https://llm.example.com';
  const config = readConfig({
    DATA_DIR: t.testdir({}),
    PORT: '0',
    ...Object.fromEntries(
      Object.keys(providerKeys).map((name) => [`SALLYPORT_${name.toUpperCase()}_ORIGIN`, elsewhere]),
    ),
  });
  const app = await createApp(config, {
    installation,
    log: createLog({ level: 'silent', write: () => {} }),
    metrics: createMetrics({ version: 'test', node: process.version }),
    version: 'test',
  });
  t.teardown(() => app.close(0));
  return `http://127.0.0.1:${await app.main.listen({ host: '127.0.0.1', port: 0 })}`;
}
