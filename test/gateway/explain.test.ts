import t from 'tap';
import { tokenMacFields } from '../../src/vault/row-macs.ts';
import { startGateway } from '../support/gateway.ts';
import { storeSeal } from '../support/sealed-key.ts';
import { scriptUpstream } from '../support/upstream.ts';

const key = 'sk-test-explain-0123456789abcdef';
const upstream = await scriptUpstream(t, { key });
const { origin } = upstream;
const gateway = await startGateway(t, { upstreams: { openai: origin, groq: origin, google: origin } });
const [main, spare] = [
  await gateway.addKey('openai', key, { name: 'main' }),
  await gateway.addKey('openai', `${key}2`, { name: 'spare', weight: 0 }),
];
await gateway.addKey('groq', key);
await gateway.addKey('google', key);
await gateway.addKey('custom', key, {
  name: 'local',
  origins: [origin],

  streamUsage: true,
});
for (const [alias, target] of [
  ['fast', 'openai/gpt-4o-mini'],
  ['lost', 'local/x'],
])
  await gateway.api('POST', '/aliases', { alias, target });

const tokenOf = async (more: object): Promise<string> =>
  (await gateway.api('POST', '/tokens', { name: 'some', ...more })).body.id;
const plain = await tokenOf({});

/** Its time is over: none is made so. */
async function expire(id: string): Promise<void> {
  const { store, vault } = gateway.installation;
  await store.asWorkspace(gateway.workspaceId, async (tx) => {
    const row = await tx.selectFrom('tokens').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
    const expires_at = new Date('2020-01-01T00:00:00Z');
    const fields = tokenMacFields({ ...row, expires_at });
    const mac = await vault.rowMac(row.workspace_id, 'tokens', fields);
    await tx.updateTable('tokens').set({ expires_at, mac }).where('id', '=', id).execute();
  });
}

async function explain(query: Readonly<Record<string, string>>, token = plain) {
  const answer = await gateway.api('GET', `/explain?${new URLSearchParams({ token, ...query }).toString()}`);
  t.equal(answer.status, 200);
  return answer.body;
}

t.test('a call is told as it would go, and nothing is called, opened or recorded', async (t) => {
  await gateway.shipped();
  const lines = gateway.logLines.length;
  const said = await explain({ model: 'fast', stream: 'true' });
  t.match(said, {
    tokenId: plain,
    model: 'fast',
    method: 'POST',
    endpoint: '/v1/chat/completions',
    refusal: null,
    alias: { alias: 'fast', target: 'openai/gpt-4o-mini' },
    limits: { requestsPerMinute: 600, concurrentCalls: 100, maxAttempts: 3, onDisconnect: { type: 'abort' } },
  });
  t.match(said.targets, [
    {
      provider: 'openai',
      keyId: main,
      keyName: 'main',
      keySource: 'own',
      weight: 1,
      needsSeal: false,
      origin,
      path: '/v1/chat/completions',
      operation: 'openai.chat',
      model: 'fast',
      upstreamModel: 'gpt-4o-mini',
      isFallback: false,
      asksStreamUsage: true,
      timeouts: { connectMs: Number, totalMs: 0 },
      pricing: { currency: 'USD', rates: { input: { usd: 0.15, per: 1_000_000 }, output: { usd: 0.6 } } },
    },
    { keyId: spare, isFallback: false },
  ]);
  t.equal(upstream.requests.length, 0);
  await gateway.shipped();
  const { rows } = await gateway.database.store.asSystem(async (tx) => ({
    rows: await tx.selectFrom('journal').select('event').where('event', 'like', 'use.%').execute(),
  }));
  t.same(rows, []);
  t.notOk(gateway.logLines.slice(lines).some((line) => line.includes('call.end')));
});

t.test('fallbacks stand in their order, with what is passed over and why', async (t) => {
  await gateway.api('PATCH', `/api-keys/${spare}`, { isActive: false });
  const policy = {
    fallbackModels: ['groq/llama-3.3-70b-versatile', 'nobody/x', 'local/qwen3'],
    maxAttempts: 5,
  };
  const said = await explain({ model: 'gpt-4o', stream: 'true' }, await tokenOf({ policy }));
  t.same(
    said.targets.map(({ provider, upstreamModel, path, isFallback }: Record<string, unknown>) => [
      provider,
      upstreamModel,
      path,
      isFallback,
    ]),
    [
      ['openai', 'gpt-4o', '/v1/chat/completions', false],
      ['groq', 'llama-3.3-70b-versatile', '/openai/v1/chat/completions', true],
      ['local', 'qwen3', '/v1/chat/completions', true],
    ],
  );
  t.same(
    said.targets.map(({ asksStreamUsage }: Record<string, unknown>) => asksStreamUsage),
    [true, false, true],
  );
  t.equal(said.targets[2].pricing, null, 'a price that nobody lists is not 0');
  t.ok(
    said.skipped.some(
      (one: { keyId: string; reason: string }) => one.keyId === spare && one.reason === 'disabled',
    ),
  );
  await gateway.api('PATCH', `/api-keys/${spare}`, { isActive: true });
});

t.test('a call that would be refused is told with the code and the way out that it would get', async (t) => {
  for (const [query, more, code] of [
    [{ model: 'llama-3' }, {}, 'MODEL_UNKNOWN'],
    [{ model: 'claude-sonnet-4-5' }, {}, 'MODEL_DIALECT'],
    [{ model: 'gpt-4o' }, { models: ['fast'] }, 'MODEL_FORBIDDEN'],
    [{ model: 'gpt-4o' }, { providers: ['groq'] }, 'FORBIDDEN'],
    [{ model: 'gpt-4o' }, { endpoints: ['openai.embeddings'] }, 'ENDPOINT_FORBIDDEN'],
    [{ model: 'grok-4' }, {}, 'KEY_MISSING'],
    [{ endpoint: '/openai/v1/organization/admin_api_keys', method: 'GET' }, {}, 'ENDPOINT_FORBIDDEN'],
    [{ endpoint: '/nothing' }, {}, 'NOT_FOUND'],
    [{ endpoint: '/openai//v1' }, {}, 'REQUEST_INVALID'],
    [{ model: 'gpt-4o' }, { kind: 'admin' }, 'AUTH_INVALID'],
  ] as const) {
    const said = await explain(query, await tokenOf(more));
    t.match(
      said,
      { refusal: { code, status: Number, message: String, fix: /./ }, targets: [] },
      JSON.stringify(query),
    );
  }
  const expired = await tokenOf({});
  await expire(expired);
  t.match(await explain({ model: 'gpt-4o' }, expired), { refusal: { code: 'AUTH_INVALID' }, targets: [] });
  const revoked = await tokenOf({});
  await gateway.api('DELETE', `/tokens/${revoked}`);
  t.match(await explain({ model: 'gpt-4o' }, revoked), { refusal: { code: 'AUTH_INVALID' }, limits: null });
});

t.test('endpoints are paths of this gateway', async (t) => {
  const gemini = { endpoint: '/google/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse' };
  t.match(await explain(gemini), {
    model: 'gemini-2.5-flash',
    targets: [{ provider: 'google', operation: 'google.stream_generate_content' }],
  });
  t.match(await explain({ endpoint: '/custom/local/v1/embeddings', model: 'm' }), {
    targets: [
      { provider: 'local', path: '/v1/embeddings', operation: 'openai.embeddings', upstreamModel: 'm' },
    ],
  });
  t.match(await explain({ endpoint: '/v1/files', method: 'GET' }), {
    model: null,
    targets: [{ provider: 'openai', path: '/v1/files', pricing: null }],
  });
});

t.test('a sealed key says that it needs its seal', async (t) => {
  const seal = await storeSeal(gateway);
  const userId = (await gateway.api('POST', '/users', { name: 'sealed' })).body.id;
  await gateway.addKey('openai', key, { userId, protection: 'sealed', sealId: seal.id });
  const token = await tokenOf({ userId });
  for (const query of [{}, { seal: 'true' }])
    t.match(await explain({ model: 'gpt-4o', ...query }, token), { targets: [{ needsSeal: true }] });
});

t.test('queries have bounds, and names of tokens that are not the caller’s say nothing', async (t) => {
  for (const query of [
    '',
    'token=',
    `token=${plain}&method=TRACE`,
    `token=${plain}&stream=maybe`,
    `token=${plain}&x=1`,
  ])
    t.equal((await gateway.api('GET', `/explain?${query}`)).status, 400, query);
  t.equal((await gateway.api('GET', `/explain?token=tok_${'0'.repeat(32)}`)).status, 404);
});
