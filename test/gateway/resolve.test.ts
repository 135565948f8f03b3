import fc from 'fast-check';
import t from 'tap';
import { SallyportError } from '../../src/errors.ts';
import { readPlace } from '../../src/gateway/base-url.ts';
import type { Question } from '../../src/gateway/model-choice.ts';
import { resolve } from '../../src/gateway/resolve.ts';
import type { CallerSnapshot } from '../../src/gateway/snapshot.ts';
import type { Target } from '../../src/gateway/target.ts';
import { matches } from '../../src/name-pattern.ts';
import { callerOf, keyOf, now, resolver } from './callers-fixture.ts';

const all = ['openai', 'anthropic', 'google', 'groq', 'xai'].map((name) => keyOf(name));
const ollama = keyOf('custom', { name: 'ollama', origins: ['https://ollama.example'], basePath: '/api/v1' });
const everyone = callerOf([...all, ollama]);

function to(
  url: string,
  model: string | null,
  more: Partial<Question> = {},
  caller: CallerSnapshot = everyone,
): Target {
  const method = model === null ? 'GET' : 'POST';
  return resolve(resolver, caller, {
    place: readPlace(url),
    method,
    model,
    providerHint: null,
    isOpaque: false,
    isPassThrough: false,
    hasSeal: true,
    renames: null,
    ...more,
  });
}

function refusal(work: () => unknown): SallyportError {
  try {
    work();
  } catch (error) {
    if (error instanceof SallyportError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

const chat = '/v1/chat/completions';

t.test('on /v1 the model picks the provider, and its prefix is taken off', async (t) => {
  for (const [model, provider, path, upstreamModel] of [
    ['gpt-4o-mini', 'openai', '/v1/chat/completions', null],
    ['o3', 'openai', '/v1/chat/completions', null],
    ['ft:gpt-4o:acme::1', 'openai', '/v1/chat/completions', null],
    ['text-embedding-3-small', 'openai', '/v1/chat/completions', null],
    ['grok-4', 'xai', '/v1/chat/completions', null],
    ['openai/gpt-4o', 'openai', '/v1/chat/completions', 'gpt-4o'],
    ['openai/anything at all', 'openai', '/v1/chat/completions', 'anything at all'],
    ['groq/llama-3.3-70b-versatile', 'groq', '/openai/v1/chat/completions', 'llama-3.3-70b-versatile'],
    ['groq/openai/gpt-oss-120b', 'groq', '/openai/v1/chat/completions', 'openai/gpt-oss-120b'],
    ['xai/grok-4', 'xai', '/v1/chat/completions', 'grok-4'],
    ['ollama/qwen3:8b', 'custom', '/api/v1/chat/completions', 'qwen3:8b'],
    ['ollama/openai/gpt-4o', 'custom', '/api/v1/chat/completions', 'openai/gpt-4o'],
  ] as const)
    t.match(to(chat, model), { provider: { name: provider }, path, upstreamModel }, model);
});

t.test('a model that nobody serves is refused with the names that would do', async (t) => {
  for (const model of ['llama-3', 'custom/x', 'nobody/gpt-4o', 'openai/', '/gpt-4o', '', 'constructor/x']) {
    const error = refusal(() => to(chat, model));
    t.equal(error.code, 'MODEL_UNKNOWN', model);
    t.match(error.message, /openai\/….*groq\/….*xai\/….*ollama\/…/, model);
  }
  t.notMatch(refusal(() => to(chat, 'x', {}, callerOf(all))).message, /ollama/, 'others’ names are not told');
  t.ok(refusal(() => to(chat, 'z'.repeat(1000))).message.length < 400);
  const narrow = refusal(() => to(chat, 'x', {}, callerOf([...all, ollama], { models: ['gpt-4o', 'o3*'] })));
  t.match(narrow.message, /This token may use gpt-4o, o3\*\./);
  const some = callerOf([...all, ollama], { providers: ['groq', 'ollama', 'anthropic'] });
  t.match(refusal(() => to(chat, 'x', {}, some)).message, /name it as groq\/…, ollama\/…\.$/);
  const none = callerOf(all, { providers: ['anthropic'] });
  t.match(
    refusal(() => to(chat, 'x', {}, none)),
    { code: 'MODEL_UNKNOWN', fix: /anthropic/ },
  );
});

t.test('an alias goes before everything else, and is followed once', async (t) => {
  const aliases = [
    { alias: 'fast', target: 'groq/llama-3.3-70b-versatile' },
    { alias: 'gpt-4', target: 'gpt-4.1' },
    { alias: 'gpt-4.1', target: 'xai/grok-4' },
    { alias: 'team/*', target: 'ollama/*' },
    { alias: 'team/big-*', target: 'openai/gpt-*' },
    { alias: '*-latest', target: 'openai/*' },
    { alias: 'meta-llama/*', target: 'ollama/meta-llama/*' },
    { alias: 'money/*', target: 'groq/$&$1*' },
  ];
  const hijacker = keyOf('custom', {
    name: 'meta-llama',
    source: 'shared',
    origins: ['https://evil.example'],
  });
  const caller = callerOf([...all, ollama, hijacker], { aliases });
  for (const [model, provider, upstreamModel] of [
    ['fast', 'groq', 'llama-3.3-70b-versatile'],
    ['gpt-4', 'openai', 'gpt-4.1'],
    ['team/qwen3:8b', 'custom', 'qwen3:8b'],
    ['team/a/b', 'custom', 'a/b'],
    ['team/big-5', 'openai', 'gpt-5'],
    ['gpt-4o-latest', 'openai', 'gpt-4o'],
    ['money/x', 'groq', '$&$1x'],
    ['openai/gpt-latest', 'openai', 'gpt-latest'],
    ['openai/fast', 'openai', 'fast'],
  ] as const)
    t.match(to(chat, model, {}, caller), { provider: { name: provider }, upstreamModel }, model);
  t.equal(
    to(chat, 'meta-llama/x', {}, caller).origin,
    'https://ollama.example',
    'a key that somebody shares takes over no alias',
  );
  for (const model of ['team/', '-latest', 'FAST', 'fast '])
    t.equal(refusal(() => to(chat, model, {}, caller)).code, 'MODEL_UNKNOWN', model);
  t.match(to('/openai/v1/chat/completions', 'fast', {}, caller), {
    provider: { name: 'openai' },
    upstreamModel: null,
  });
});

t.test('a token’s models are names that calls ask by, and an alias leads to no other provider', async (t) => {
  const aliases = [
    { alias: 'fast', target: 'openai/gpt-4o-mini' },
    { alias: 'gpt-4o-cheap', target: 'groq/llama' },
  ];
  const narrow = (more: object) => callerOf(all, { aliases, ...more });
  t.equal(to(chat, 'fast', {}, narrow({ models: ['fast'] })).upstreamModel, 'gpt-4o-mini');
  for (const [model, more, code] of [
    ['openai/gpt-4o-mini', { models: ['fast'] }, 'MODEL_FORBIDDEN'],
    ['fast', { models: ['openai/*'] }, 'MODEL_FORBIDDEN'],
    ['fast', { models: ['gpt-4o*'] }, 'MODEL_FORBIDDEN'],
    ['gpt-4o-cheap', { models: ['gpt-4o*'], providers: ['openai'] }, 'FORBIDDEN'],
  ] as const)
    t.equal(refusal(() => to(chat, model, {}, narrow(more))).code, code, `${model} ${JSON.stringify(more)}`);
});

t.test(
  'an unknown model is told with the name that was probably meant, of those that the token sees',
  async (t) => {
    const aliases = [{ alias: 'fast', target: 'openai/gpt-4o-mini' }];
    const listed = () => ['groq/llama-3.3-70b-versatile', 'ollama/qwen3:8b'];
    const told = (model: string, more: Partial<CallerSnapshot> = {}): string =>
      refusal(() =>
        resolve({ ...resolver, listed }, callerOf(all, { aliases, ...more }), {
          place: readPlace(chat),
          method: 'POST',
          model,
          providerHint: null,
          isOpaque: false,
          isPassThrough: false,
          hasSeal: true,
          renames: null,
        }),
      ).message;
    t.match(told('llama-3.3-70b-versatile'), /did you mean "groq\/llama-3\.3-70b-versatile"\?/);
    t.match(told('llama-3.3-70b-versatil'), /did you mean "groq\/llama-3\.3-70b-versatile"\?/);
    t.match(told('qwen3:8'), /did you mean "ollama\/qwen3:8b"\?/);
    t.match(told('fsat'), /"fsat"\. /, 'less than half may be wrong');
    t.match(told('faast'), /did you mean "fast"\?/);
    t.match(told('opeani/gpt-4o'), /did you mean "openai\/gpt-4o"\?/);
    t.notMatch(told('faast', { models: ['gpt-*'] }), /mean/, 'what the token may not ask for is not told');
    t.notMatch(told('opeani/gpt-4o', { providers: ['groq'] }), /mean/);
    t.notMatch(told('x'.repeat(5000)), /mean/);
  },
);

t.test('a model of another dialect is refused with the base URL that serves it', async (t) => {
  for (const [model, url] of [
    ['claude-sonnet-4-5', /\/anthropic/],
    ['anthropic/claude-sonnet-4-5', /\/anthropic/],
    ['gemini-2.5-flash', /\/google/],
    ['google/gemini-2.5-flash', /\/google/],
  ] as const)
    t.match(
      refusal(() => to(chat, model)),
      { code: 'MODEL_DIALECT', fix: url },
      model,
    );
});

t.test('without a model: the header, else openai, else the only provider, else a question', async (t) => {
  const models = '/v1/models';
  const groq = keyOf('groq');
  t.equal(to(models, null).provider.name, 'openai');
  t.equal(to(models, null, { providerHint: 'groq' }).path, '/openai/v1/models');
  t.match(to(models, null, { providerHint: 'ollama' }), {
    origin: 'https://ollama.example',
    path: '/api/v1/models',
  });
  t.equal(to(models, null, {}, callerOf([groq])).provider.name, 'groq');
  t.equal(to(models, null, {}, callerOf([ollama, keyOf('anthropic')])).origin, 'https://ollama.example');
  t.match(
    refusal(() => to(models, null, {}, callerOf([groq, ollama]))),
    {
      code: 'REQUEST_INVALID',
      message: /groq, ollama/,
      fix: /x-sallyport-provider/,
    },
  );
  t.equal(refusal(() => to(models, null, {}, callerOf([]))).code, 'KEY_MISSING');
  for (const hint of ['custom', 'nobody', '__proto__', ''])
    t.equal(refusal(() => to(models, null, { providerHint: hint })).code, 'REQUEST_INVALID', hint);
  t.equal(refusal(() => to(models, null, { providerHint: 'anthropic' })).code, 'MODEL_DIALECT');
  t.equal(to(chat, 'grok-4', { providerHint: 'groq' }).provider.name, 'xai', 'a model that is there decides');
  const narrow = { providers: ['groq'] };
  t.equal(
    to(models, null, {}, callerOf(all, narrow)).provider.name,
    'groq',
    'what the token may not use is no choice',
  );
  t.equal(to(models, null, {}, callerOf([...all, groq], { keyIds: [groq.id] })).provider.name, 'groq');
});

t.test('native and custom base URLs go where they say, with the path unchanged', async (t) => {
  t.match(to('/openai/v1/chat/completions', 'groq/llama'), {
    path: '/v1/chat/completions',
    upstreamModel: null,
  });
  t.equal(to('/groq/openai/v1/models?x=1', null).path, '/openai/v1/models?x=1');
  t.match(to('/anthropic/v1/messages', 'claude-x'), {
    origin: 'https://api.anthropic.com',
    path: '/v1/messages',
  });
  t.match(to('/custom/ollama/api/chat', 'qwen'), { path: '/api/chat', origin: 'https://ollama.example' });
  t.equal(refusal(() => to('/custom/other/api/chat', 'qwen')).code, 'KEY_MISSING');
});

t.test('a custom call takes origin and base path from the same key', async (t) => {
  const off = keyOf('custom', {
    name: 'lm',
    origins: ['https://off.example'],
    basePath: '/off',
    isActive: false,
  });
  const on = keyOf('custom', { name: 'lm', origins: ['https://on.example'], basePath: '/on' });
  t.match(to(chat, 'lm/m', {}, callerOf([off, on])), {
    origin: 'https://on.example',
    path: '/on/chat/completions',
  });
  const own = keyOf('custom', { name: 'lm', basePath: '/own' });
  const shared = keyOf('custom', {
    name: 'lm',
    basePath: '/',
    source: 'shared',
    origins: ['https://shared.example'],
  });
  t.match(to(chat, 'lm/m', {}, callerOf([own, shared], { keyIds: [shared.id] })), {
    origin: 'https://shared.example',
    path: '/chat/completions',
  });
});

t.test('the first source that has a key decides who pays, and is never passed over', async (t) => {
  const own = keyOf('openai');
  const shared = keyOf('openai', { source: 'shared' });
  const managed = keyOf('openai', { source: 'managed' });
  const pay = (...keys: (typeof own)[]): string | null => to(chat, 'gpt-4o', {}, callerOf(keys)).key.id;
  t.equal(pay(own, shared, managed), own.id);
  t.equal(pay(shared, managed), shared.id);
  t.equal(pay(managed), managed.id);
  const disabled = { ...own, isActive: false };
  const expired = { ...own, expiresAt: now };
  t.equal(refusal(() => pay(disabled, shared)).code, 'KEY_DISABLED');
  t.equal(refusal(() => pay(expired, managed)).code, 'KEY_EXPIRED');
  t.equal(pay(expired, keyOf('openai', { id: 'second' })), 'second', 'another of the same source may');
  t.equal(pay({ ...own, expiresAt: now + 1 }), own.id);
  const sealed = { ...own, protection: 'sealed' } as const;
  t.equal(pay(sealed, shared), own.id, 'whether a seal came along is seen when it is opened');
  const usage = { ...own, purpose: 'usage' } as const;
  t.equal(pay(usage, shared), shared.id, 'what administers the account is no key for calls');
  t.match(
    refusal(() => pay(usage)),
    {
      code: 'KEY_MISSING',
      message: /administers the account/,
      fix: /^Make one at https:\/\/platform\.openai\.com\/api-keys and store it: bin/,
    },
  );
  t.match(
    refusal(() => pay()),
    { code: 'KEY_MISSING', fix: /keys add --provider openai/ },
  );
});

t.test('a token’s bounds are kept: providers, keys, models', async (t) => {
  const bound = (more: Partial<CallerSnapshot>): CallerSnapshot => callerOf([...all, ollama], more);
  t.equal(refusal(() => to(chat, 'gpt-4o', {}, bound({ providers: ['groq', 'ollama'] }))).code, 'FORBIDDEN');
  t.equal(refusal(() => to('/openai/v1/models', null, {}, bound({ providers: [] }))).code, 'FORBIDDEN');
  t.equal(to(chat, 'ollama/x', {}, bound({ providers: ['ollama'] })).origin, 'https://ollama.example');
  t.equal(refusal(() => to(chat, 'gpt-4o', {}, bound({ keyIds: [ollama.id] }))).code, 'KEY_MISSING');
  const models = { models: ['gpt-4o*', 'claude-*-5'] };
  t.equal(to(chat, 'gpt-4o-mini', {}, bound(models)).provider.name, 'openai');
  for (const model of ['gpt-4.1', 'o3', 'openai/gpt-4o'])
    t.equal(refusal(() => to(chat, model, {}, bound(models))).code, 'MODEL_FORBIDDEN', model);
  t.equal(
    refusal(() => to('/anthropic/v1/messages', 'claude-opus', {}, bound(models))).code,
    'MODEL_FORBIDDEN',
  );
  t.equal(to('/openai/v1/models', null, {}, bound(models)).provider.name, 'openai', 'looking runs no model');
  for (const [url, isOpaque] of [
    ['/v1/audio/transcriptions', true],
    ['/openai/v1/batches', false],
    ['/anthropic/v1/messages/batches', false],
    ['/v1/responses', false],
  ] as const) {
    const error = refusal(() => to(url, null, { method: 'POST', isOpaque }, bound(models)));
    t.equal(error.code, 'MODEL_FORBIDDEN', url);
  }
});

t.test('what hands out credentials, and what is kept in another’s account, is refused', async (t) => {
  t.equal(refusal(() => to('/openai/v1/realtime/client_secrets', 'gpt-4o')).code, 'ENDPOINT_FORBIDDEN');
  t.equal(
    refusal(() => to('/v1/organization/admin_api_keys', null, {}, callerOf([]))).code,
    'ENDPOINT_FORBIDDEN',
    'whoever pays',
  );
  t.equal(refusal(() => to('/openai/v1/models', null, { method: 'TRACE' })).code, 'ENDPOINT_FORBIDDEN');
  const shared = callerOf([keyOf('openai', { source: 'shared' })]);
  t.equal(refusal(() => to('/v1/files', null, {}, shared)).code, 'ENDPOINT_FORBIDDEN');
  t.equal(to('/v1/files', null).path, '/v1/files', 'one’s own key may');
  t.equal(to(chat, 'gpt-4o', {}, shared).key.source, 'shared');
});

t.test('a key goes to the origin that it was stored for and to no other', async (t) => {
  const moved = { ...resolver, originOf: () => 'https://elsewhere.example' };
  const question = {
    place: readPlace(chat),
    method: 'POST',
    model: 'gpt-4o',
    providerHint: null,
    isOpaque: false,
    isPassThrough: false,
    hasSeal: true,
    renames: null,
  };
  t.equal(refusal(() => resolve(moved, everyone, question)).code, 'KEY_ORIGIN');
  t.equal(to(chat, 'gpt-4o').reach, 'public');
  t.equal(resolve({ ...resolver, isOperatorSet: () => true }, everyone, question).reach, 'operator');
  t.equal(to(chat, 'ollama/x').reach, 'public', 'a custom origin is what its key says');
});

t.test('patterns match as their regular expressions would, and in linear time', async (t) => {
  const letters = fc.array(fc.constantFrom('a', 'b', '.', '*', '-', '\\', '(', '$'), { maxLength: 9 });
  fc.assert(
    fc.property(letters, letters, (pattern, text) => {
      const source = pattern
        .map((each) => (each === '*' ? '[^]*' : each.replace(/[.\\($]/, '\\$&')))
        .join('');
      const expected = new RegExp(`^${source}$`).test(text.join(''));
      if (matches(pattern.join(''), text.join('')) !== expected)
        throw new Error(`${pattern.join('')} on ${text.join('')}`);
    }),
    { numRuns: 5000 },
  );
  const started = performance.now();
  t.notOk(matches(`${'*a'.repeat(500)}b`, 'a'.repeat(1024)));
  t.ok(performance.now() - started < 200);
});

t.test(
  'whatever the model is called, a call goes to a stored key’s origin or is refused by a code of the table',
  async () => {
    const word = fc.constantFrom(
      'openai',
      'groq',
      'xai',
      'google',
      'custom',
      'ollama',
      'gpt-4o',
      'grok-4',
      'claude-1',
      '/',
      '//',
      '*',
      '',
      '..',
      '\0',
      'é',
    );
    const origins = new Set(everyone.keys.flatMap((key) => key.origins));
    fc.assert(
      fc.property(fc.array(word, { maxLength: 5 }), (words) => {
        try {
          const target = to(chat, words.join(''));
          if (!origins.has(target.origin) || !target.path.endsWith('/chat/completions'))
            throw new Error(target.path);
          const named = target.upstreamModel;
          if (named !== null && (named === '' || !words.join('').endsWith(`/${named}`)))
            throw new Error(named);
        } catch (error) {
          if (!(error instanceof SallyportError)) throw error;
        }
      }),
      { numRuns: 2000 },
    );
  },
);
