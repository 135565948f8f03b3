import OpenAI from 'openai';
import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { storeSeal } from '../support/sealed-key.ts';
import { scriptUpstream, type Answer } from '../support/upstream.ts';

const keys = {
  openai: 'sk-test-models-openai-0123456789',
  groq: 'gsk_test-models-groq-0123456789',
  local: 'local-test-models-0123456789',
};
const list = (...models: object[]): Answer => ({ body: { object: 'list', data: models } });
const openaiList = list(
  { id: 'gpt-4o', object: 'model', created: 1715367049, owned_by: 'system' },
  { id: 'gpt-4o-mini', object: 'model', created: 1721172741, owned_by: 'system' },
  { id: 'ft:gpt-4o:acme::1', object: 'model', created: 1, owned_by: 'acme' },
);
const openai = await scriptUpstream(t, { key: keys.openai, script: [openaiList] });
const groq = await scriptUpstream(t, {
  key: keys.groq,
  script: [
    list(
      { id: 'llama-3.3-70b-versatile', created: 2, owned_by: 'Meta', context_window: 131_072 },
      { id: 'openai/gpt-oss-120b', created: 3, owned_by: 'OpenAI', context_window: 131_072 },
    ),
  ],
});
// Together’s form, with a name that no call could ask by.
const local = await scriptUpstream(t, {
  key: keys.local,
  script: [
    {
      body: [
        { id: 'qwen3:8b', context_length: 40_960 },
        { id: 'two words' },
        { id: 7 },
        null,
        keys.local,
      ] as never,
    },
  ],
});
const failing = {
  reset: await scriptUpstream(t, [{ body: 'x', ending: 'reset' }]),
  html: await scriptUpstream(t, [{ body: '<html>' }]),
  long: await scriptUpstream(t, [{ body: `{"data":[${'1,'.repeat(2_200_000)}1]}` }]),
  refused: await scriptUpstream(t, { key: 'another-key-0123456789', script: [] }),
};
const echo = await scriptUpstream(t, [list({ id: keys.local }, { id: 'echoing' })]);
const gateway = await startGateway(t, {
  upstreams: { openai: openai.origin, groq: groq.origin },
  settings: {
    SALLYPORT_ALLOW_ORIGINS: [...Object.values(failing), echo].map(({ origin }) => origin).join(','),
  },
});
interface ListedView {
  readonly id: string;
  readonly sallyport: { readonly isAlias: boolean };
}
await gateway.addKey('openai', keys.openai);
await gateway.addKey('groq', keys.groq);
await gateway.addKey('custom', keys.local, { name: 'local', origins: [local.origin] });
await gateway.addKey('anthropic', 'sk-ant-test-models-0123456789abcdef');
for (const [alias, target] of [
  ['fast', 'openai/gpt-4o-mini'],
  ['team/*', 'local/*'],
  ['claude', 'anthropic/claude-sonnet-4-5'],
])
  await gateway.api('POST', '/aliases', { alias, target });

const tokenFor = async (more: object): Promise<string> =>
  (await gateway.api('POST', '/tokens', { name: 'some', ...more })).body.token;
const get = (path: string, token = gateway.token, headers = {}) =>
  ask(gateway.origin + path, { headers: { authorization: `Bearer ${token}`, ...headers } });
const idsOf = async (token?: string): Promise<string[]> =>
  (await get('/v1/models', token)).json().data.map(({ id }: ListedView) => id);
const asked = (): number[] => [openai, groq, local].map(({ requests }) => requests.length);

t.test(
  'GET /v1/models is what a token may ask for, of all its providers, by names that calls take',
  async (t) => {
    const answer = await get('/v1/models');
    t.equal(answer.status, 200);
    t.match(answer.header('x-request-id'), /^call_/);
    t.same([answer.header('x-sallyport-models-missing'), answer.header('x-sallyport-key')], [null, null]);
    const { object, data } = answer.json();
    t.equal(object, 'list');
    t.same(
      data.map(({ id }: ListedView) => id),
      [
        'fast',
        'local/qwen3:8b',
        'groq/llama-3.3-70b-versatile',
        'groq/openai/gpt-oss-120b',
        'openai/gpt-4o',
        'openai/gpt-4o-mini',
        'openai/ft:gpt-4o:acme::1',
      ],
    );
    t.match(
      data.find(({ id }: ListedView) => id === 'groq/llama-3.3-70b-versatile'),
      {
        object: 'model',
        created: 2,
        owned_by: 'Meta',
        sallyport: {
          provider: 'groq',
          model: 'llama-3.3-70b-versatile',
          isAlias: false,
          dialect: 'openai',
          baseUrl: '/groq/openai/v1',
          contextLength: 131_072,
          pricing: {
            currency: 'USD',
            version: /^genai-prices\//,
            rates: { input: { usd: Number, per: 1_000_000 } },
          },
        },
      },
    );
    t.match(data[0], {
      created: 1721172741,
      sallyport: { provider: 'openai', model: 'gpt-4o-mini', isAlias: true },
    });
    t.match(data[1], {
      owned_by: 'local',
      sallyport: { baseUrl: '/custom/local', contextLength: 40_960, pricing: null },
    });
    for (const { id } of data) {
      const call = await ask(`${gateway.origin}/v1/chat/completions`, {
        headers: { authorization: `Bearer ${gateway.token}` },
        body: { model: id },
      });
      t.equal(call.status, 200, `${id} can be asked for as it is listed`);
    }
  },
);

t.test('lists are asked for once, and by many at once too', async (t) => {
  const before = asked();
  await Promise.all(Array.from({ length: 5 }, () => idsOf()));
  t.same(asked(), before);
  const head = await ask(`${gateway.origin}/v1/models`, {
    method: 'HEAD',
    headers: { authorization: `Bearer ${gateway.token}` },
  });
  t.same([head.status, head.body.length], [200, 0]);
  t.equal(Number(head.header('content-length')), (await get('/v1/models')).body.length);
});

t.test('a token’s providers, keys and models bound what it is shown', async (t) => {
  t.same(await idsOf(await tokenFor({ providers: ['groq'] })), [
    'groq/llama-3.3-70b-versatile',
    'groq/openai/gpt-oss-120b',
  ]);
  t.same(await idsOf(await tokenFor({ models: ['gpt-4o*', 'fast'] })), ['fast', 'gpt-4o', 'gpt-4o-mini']);
  t.same(await idsOf(await tokenFor({ models: ['openai/*'] })), [
    'openai/gpt-4o',
    'openai/gpt-4o-mini',
    'openai/ft:gpt-4o:acme::1',
  ]);
  const none = await get('/v1/models', await tokenFor({ providers: ['anthropic'] }));
  t.match(none.header('x-sallyport-code'), /FORBIDDEN|KEY_MISSING/);
});

t.test('one model by its name, as SDKs ask for it', async (t) => {
  for (const [path, id, model] of [
    ['openai/gpt-4o', 'openai/gpt-4o', 'gpt-4o'],
    ['openai%2Fgpt-4o', 'openai/gpt-4o', 'gpt-4o'],
    ['gpt-4o', 'gpt-4o', 'gpt-4o'],
    ['groq/openai/gpt-oss-120b', 'groq/openai/gpt-oss-120b', 'openai/gpt-oss-120b'],
    ['fast', 'fast', 'gpt-4o-mini'],
    ['team%2Fqwen3%3A8b', 'team/qwen3:8b', 'qwen3:8b'],
  ] as const)
    t.match((await get(`/v1/models/${path}`)).json(), { id, object: 'model', sallyport: { model } }, path);
  const client = new OpenAI({ apiKey: gateway.token, baseURL: `${gateway.origin}/v1`, maxRetries: 0 });
  t.equal((await client.models.retrieve('groq/llama-3.3-70b-versatile')).owned_by, 'Meta');
  const ids: string[] = [];
  for await (const { id } of client.models.list()) ids.push(id);
  t.equal(ids.length, 7);

  for (const [path, code, message] of [
    ['groq/llama-3.3-70b-versatil', 'MODEL_UNKNOWN', /did you mean \\"groq\/llama-3\.3-70b-versatile\\"/],
    ['llama-3.3-70b-versatile', 'MODEL_UNKNOWN', /did you mean \\"groq\/llama-3\.3-70b-versatile\\"/],
    ['groq/whisper-large-v3', 'MODEL_UNKNOWN', /^(?!.*did you mean \\"groq\/whisper-large-v3\\")/],
    ['openai/none-of-theirs', 'MODEL_UNKNOWN', /no model that this token may ask for/],
    ['claude-sonnet-4-5', 'MODEL_DIALECT', /\/anthropic/],
    ['a%ffb', 'REQUEST_INVALID', /UTF-8/],
    ['a%2f%2fb', 'REQUEST_INVALID', /doubled slash/],
  ] as const) {
    const answer = await get(`/v1/models/${path}`);
    t.equal(answer.header('x-sallyport-code'), code, path);
    t.match(answer.body.toString(), message, path);
  }
  const narrow = await tokenFor({ models: ['gpt-4o'] });
  t.equal((await get('/v1/models/fast', narrow)).header('x-sallyport-code'), 'MODEL_UNKNOWN');
  const call = await ask(`${gateway.origin}/v1/chat/completions`, {
    headers: { authorization: `Bearer ${gateway.token}` },
    body: { model: 'qwen3:8b' },
  });
  t.match(call.json(), { error: { code: 'model_not_found', message: /did you mean "local\/qwen3:8b"/ } });
});

t.test('a bare name that stands in no list is left to its provider', async (t) => {
  const before = asked();
  openai.respond([{ body: { id: 'gpt-unlisted', object: 'model' } }]);
  const answer = await get('/v1/models/gpt-unlisted');
  t.same(answer.json(), { id: 'gpt-unlisted', object: 'model' });
  t.equal(openai.requests.at(-1)?.path, '/v1/models/gpt-unlisted');
  t.equal((await get('/v1/models/grok-4')).header('x-sallyport-code'), 'KEY_MISSING');
  const narrow = await get('/v1/models/gpt-unlisted', await tokenFor({ models: ['gpt-4o'] }));
  t.equal(narrow.header('x-sallyport-code'), 'MODEL_UNKNOWN');
  openai.respond([openaiList]);
  t.same(asked(), [(before[0] ?? 0) + 1, before[1], before[2]]);
});

t.test('who says whose list he wants gets it as it is', async (t) => {
  const before = asked();
  const hinted = await get('/v1/models', gateway.token, { 'x-sallyport-provider': 'groq' });
  t.match(hinted.json().data[0], { id: 'llama-3.3-70b-versatile', context_window: 131_072 });
  t.equal((await get('/openai/v1/models')).json().data.length, 3);
  t.same(asked(), [(before[0] ?? 0) + 1, (before[1] ?? 0) + 1, before[2]]);
});

t.test('each list that was asked for is a use on record, with its end', async (t) => {
  await gateway.shipped();
  const rows = await gateway.database.store.asSystem((tx) =>
    tx
      .selectFrom('usage_events')
      .select(['provider', 'operation', 'final', 'outcome', 'token_id', 'cost_nano_usd'])
      .where('operation', '=', 'openai.models')
      .execute(),
  );
  t.equal(rows.length, 6, 'three of ours, three relayed');
  t.ok(rows.every((row) => row.final && row.outcome === 'ok' && row.token_id !== null));
});

t.test('what gives no list is left out and named, and is not asked by every client', async (t) => {
  const member = (await gateway.api('POST', '/users', { name: 'member' })).body.id;
  for (const [name, { origin }] of Object.entries({ ...failing, echo }))
    await gateway.addKey('custom', keys.local, { name, origins: [origin], userId: member });
  const token = await tokenFor({ userId: member });
  const answer = await get('/v1/models', token);
  t.equal(answer.status, 200);
  const missing = answer.header('x-sallyport-models-missing')?.split(', ').toSorted();
  t.same(missing, Object.keys(failing).toSorted());
  t.notMatch(answer.body.toString(), keys.local, 'an origin that echoes its key tells it to nobody');
  t.match(answer.body.toString(), '"echo/echoing"');
  const before = Object.values(failing).map(({ requests }) => requests.length);
  await get('/v1/models', token);
  t.same(
    Object.values(failing).map(({ requests }) => requests.length),
    before,
  );
  const only = await get('/v1/models', await tokenFor({ userId: member, providers: ['refused'] }));
  t.equal(
    only.header('x-sallyport-code'),
    'UPSTREAM_AUTH',
    'where nobody answers, why says more than nothing',
  );
});

t.test(
  'an alias holds from the answer that made it to the one that took it away, and none that was forged',
  async (t) => {
    const askBrief = async (): Promise<string | null> => {
      const answer = await ask(`${gateway.origin}/v1/chat/completions`, {
        headers: { authorization: `Bearer ${gateway.token}` },
        body: { model: 'brief' },
      });
      return answer.status === 200
        ? answer.header('x-sallyport-provider')
        : answer.header('x-sallyport-code');
    };
    t.equal(await askBrief(), 'MODEL_UNKNOWN');
    const { id } = (await gateway.api('POST', '/aliases', { alias: 'brief', target: 'groq/llama' })).body;
    t.equal(await askBrief(), 'groq');
    t.match(JSON.parse(groq.requests.at(-1)?.body.toString() ?? ''), { model: 'llama' });
    await gateway.database.owner('alter table model_aliases no force row level security');
    await gateway.database.owner(`update model_aliases set target = 'local/x' where id = '${id}'`);
    await gateway.api('POST', '/aliases', { alias: 'other', target: 'groq/llama' });
    t.equal(
      await askBrief(),
      'MODEL_UNKNOWN',
      'whoever writes targets into the database sends nobody elsewhere',
    );
    t.ok(gateway.logLines.some((line) => line.includes('database.forged-row') && line.includes(id)));
    await gateway.api('DELETE', `/aliases/${id}`);
    await gateway.api('POST', '/aliases', { alias: 'brief', target: 'groq/llama' });
    t.equal(await askBrief(), 'groq');
  },
);

t.test('the list of a sealed key is told to who has its seal', async (t) => {
  const seal = await storeSeal(gateway);
  const user = (await gateway.api('POST', '/users', { name: 'sealed' })).body.id;
  const token = await tokenFor({ userId: user });
  const sealed = { userId: user, protection: 'sealed', sealId: seal.id };
  await gateway.addKey('groq', keys.groq, sealed);
  await gateway.addKey('openai', keys.openai, { userId: user });
  for (const [header, count, missing] of [
    [undefined, 3, 'groq'],
    [seal.secret, 5, null],
    [undefined, 3, 'groq'],
  ] as const) {
    const answer = await get('/v1/models', token, header === undefined ? {} : { 'x-sallyport-seal': header });
    t.equal(answer.json().data.filter(({ sallyport }: ListedView) => !sallyport.isAlias).length, count);
    t.equal(answer.header('x-sallyport-models-missing'), missing);
  }
});
