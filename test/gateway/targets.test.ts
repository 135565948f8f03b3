import t from 'tap';
import { SallyportError } from '../../src/errors.ts';
import { readPlace } from '../../src/gateway/base-url.ts';
import type { Question, Resolver } from '../../src/gateway/model-choice.ts';
import { nextTarget, plan, resolve, sameTarget } from '../../src/gateway/resolve.ts';
import type { CallerSnapshot, KeySnapshot } from '../../src/gateway/snapshot.ts';
import type { Target } from '../../src/gateway/target.ts';
import { defaultPolicy } from '../../src/token-policy.ts';
import { callerOf, keyOf, now, resolver } from './callers-fixture.ts';

/** A small generator (mulberry32), so that a failure can be run again. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

function asking(model: string | null, more: Partial<Question> = {}, url = '/v1/chat/completions'): Question {
  return {
    place: readPlace(url),
    method: 'POST',
    model,
    providerHint: null,
    isOpaque: false,
    isPassThrough: false,
    hasSeal: false,
    renames: model === null ? null : 'body',
    ...more,
  };
}

/** All targets in their order, as `key model`. */
function walked(caller: CallerSnapshot, question: Question, by: Resolver = resolver): string[] {
  const tried: Target[] = [resolve(by, caller, question)];
  for (;;) {
    const next = nextTarget(by, caller, question, tried);
    if (next === null) return tried.map(({ key, model }) => `${key.id} ${model}`);
    tried.push(next);
    if (tried.length > 50) throw new Error('no end');
  }
}

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof SallyportError) return error.code;
    throw error;
  }
  return 'none';
}

const named = (id: string, more: Partial<KeySnapshot> = {}, provider = 'openai'): KeySnapshot =>
  keyOf(provider, { id, ...more });
const fallingTo = (...fallbackModels: string[]): Pick<CallerSnapshot, 'policy'> => ({
  policy: { ...defaultPolicy, fallbackModels, maxAttempts: 10 },
});

t.test('two keys with weights 3 to 1 share 400 calls near 300 to 100', async (t) => {
  const caller = callerOf([named('three', { weight: 3 }), named('one', { weight: 1 })]);
  const by = { ...resolver, random: randomFrom(4) };
  let count = 0;
  for (let i = 0; i < 400; i += 1) if (resolve(by, caller, asking('gpt-4o')).key.id === 'three') count += 1;
  t.ok(count > 270 && count < 330, `${count} of 400`);
});

t.test('every key of the payer is tried once, by weight, and one of weight 0 last', async (t) => {
  const keys = [
    named('last', { weight: 0 }),
    named('a', { weight: 5 }),
    named('b'),
    named('c', { weight: 2 }),
  ];
  const orders = new Set<string>();
  const by = { ...resolver, random: randomFrom(7) };
  for (let i = 0; i < 200; i += 1) {
    const order = walked(callerOf(keys), asking('gpt-4o'), by).map((each) => each.split(' ')[0] as string);
    t.equal(order.at(-1), 'last');
    t.same(order.toSorted(), ['a', 'b', 'c', 'last']);
    orders.add(order.join());
  }
  t.equal(orders.size, 6, 'in every order');
  t.same(walked(callerOf([named('x', { weight: 0 }), named('y', { weight: 0 })]), asking('gpt-4o')), [
    'x gpt-4o',
    'y gpt-4o',
  ]);
});

t.test('a failed call never goes to a key of another source, nor of another colleague', async (t) => {
  const shared = { source: 'shared', isCallersOwn: false } as const;
  const of = (...keys: KeySnapshot[]): string[] => walked(callerOf(keys), asking('gpt-4o'));
  t.same(of(named('own'), named('s', shared), named('m', { source: 'managed' })), ['own gpt-4o']);
  const [ben, ida] = [
    named('ben', { ...shared, ownerId: 'ben' }),
    named('ida', { ...shared, ownerId: 'ida' }),
  ];
  t.same(of(ben, ida), ['ben gpt-4o']);
  t.same(of(ben, ida, named('ben2', { ...shared, ownerId: 'ben' })).toSorted(), [
    'ben gpt-4o',
    'ben2 gpt-4o',
  ]);
  t.same(
    of({ ...ben, isActive: false }, ida),
    ['ida gpt-4o'],
    'one that is off leaves its place to the next',
  );
  t.equal(
    codeOf(() => of({ ...ben, isRefused: true }, ida)),
    'UPSTREAM_AUTH',
    'one that is refused does not',
  );
});

t.test(
  'a key that cannot be used is passed over for one that can, and told of where there is none',
  async (t) => {
    const of = (...keys: KeySnapshot[]): string[] => walked(callerOf(keys), asking('gpt-4o'));
    const good = named('good');
    const sealed = named('sealed', { protection: 'sealed' });
    const refused = named('refused', { isRefused: true });
    const moved = named('moved', { origins: ['https://old.example'] });
    for (const bad of [
      sealed,
      refused,
      moved,
      named('off', { isActive: false }),
      named('old', { expiresAt: now }),
    ])
      t.same(of(bad, good), ['good gpt-4o'], bad.id);
    t.same(of(sealed), ['sealed gpt-4o'], 'the seal’s gate says what is missing');
    t.same(of(moved, refused, sealed), ['sealed gpt-4o']);
    t.equal(
      codeOf(() => of(moved, refused)),
      'UPSTREAM_AUTH',
    );
    t.equal(
      codeOf(() => of(moved)),
      'KEY_ORIGIN',
    );
    t.same(
      walked(callerOf([sealed, good]), asking('gpt-4o', { hasSeal: true })).toSorted(),
      ['good gpt-4o', 'sealed gpt-4o'],
      'with a seal it is one of them',
    );
  },
);

t.test('fallback models follow in their order, each within the bounds of the token', async (t) => {
  const keys = [
    named('o1'),
    named('o2'),
    named('g', {}, 'groq'),
    named('a', {}, 'anthropic'),
    named('x', {}, 'xai'),
  ];
  const lab = keyOf('custom', { id: 'lab', name: 'lab', basePath: '/api/v1' });
  const policy = fallingTo('groq/llama', 'claude-x', 'gpt-4o-mini', 'mistral/none', 'lab/m');
  const caller = callerOf([...keys, lab], policy);
  t.same(walked(caller, asking('gpt-4o')), [
    'o1 gpt-4o',
    'o2 gpt-4o',
    'g groq/llama',
    'o1 gpt-4o-mini',
    'o2 gpt-4o-mini',
    'lab lab/m',
  ]);
  const { targets, skipped } = plan(resolver, caller, asking('gpt-4o'));
  t.match(
    targets.map(({ path, upstreamModel, modelAt }) => [path, upstreamModel, modelAt]),
    [
      ['/v1/chat/completions', null, 0],
      ['/v1/chat/completions', null, 0],
      ['/openai/v1/chat/completions', 'llama', 1],
      ['/v1/chat/completions', 'gpt-4o-mini', 3],
      ['/v1/chat/completions', 'gpt-4o-mini', 3],
      ['/api/v1/chat/completions', 'm', 5],
    ],
  );
  t.same(skipped, [], 'the first way in passes over nothing');
  const bound = (more: Partial<CallerSnapshot>): string[] =>
    walked(callerOf([...keys, lab], { ...policy, ...more }), asking('gpt-4o'));
  t.same(bound({ models: ['gpt-*'] }).at(-1), 'o2 gpt-4o-mini');
  t.same(bound({ providers: ['openai', 'groq'] }).at(2), 'g groq/llama');
  t.notOk(bound({ providers: ['openai'] }).some((each) => each.startsWith('g ')));
  t.notOk(bound({ keyIds: ['o1', 'lab'] }).some((each) => each.startsWith('g ')));
  t.same(
    walked(caller, asking('gpt-4o', { isPassThrough: true })),
    ['null gpt-4o'],
    'a key that came is the only one',
  );
  t.same(
    walked(caller, asking('gpt-4o', { renames: null })),
    ['o1 gpt-4o', 'o2 gpt-4o'],
    'nothing to rename',
  );
});

t.test('what is wrong with the caller’s own keys or bounds is not covered up by a fallback', async (t) => {
  const groq = named('g', {}, 'groq');
  const of =
    (...keys: KeySnapshot[]) =>
    () =>
      walked(callerOf([...keys, groq], fallingTo('groq/llama')), asking('gpt-4o'));
  t.equal(codeOf(of()), 'KEY_MISSING');
  t.equal(codeOf(of(named('off', { isActive: false }))), 'KEY_DISABLED');
  t.same(of(named('bad', { isRefused: true }))(), ['g groq/llama'], 'a key that is refused has failed');
  const narrow = callerOf([named('o'), groq], { ...fallingTo('groq/llama'), models: ['groq/*'] });
  t.equal(
    codeOf(() => resolve(resolver, narrow, asking('gpt-4o'))),
    'MODEL_FORBIDDEN',
  );
});

t.test('a native base URL falls back within its dialect, on the other provider’s own path', async (t) => {
  const caller = callerOf(
    [named('o'), named('g', {}, 'groq'), named('a', {}, 'anthropic'), named('n', {}, 'google')],
    fallingTo('groq/llama', 'claude-b', 'gemini-b', 'google/gemini-c'),
  );
  const paths = (question: Question): unknown =>
    plan(resolver, caller, question).targets.map(({ path, upstreamModel }) => [path, upstreamModel]);
  t.same(paths(asking('gpt-4o', {}, '/openai/v1/chat/completions')), [
    ['/v1/chat/completions', null],
    ['/openai/v1/chat/completions', 'llama'],
  ]);
  t.same(paths(asking('llama-x', {}, '/groq/openai/v1/chat/completions')), [
    ['/openai/v1/chat/completions', null],
    ['/openai/v1/chat/completions', 'llama'],
  ]);
  t.same(paths(asking('claude-a', {}, '/anthropic/v1/messages')), [
    ['/v1/messages', null],
    ['/v1/messages', 'claude-b'],
  ]);
  t.same(
    paths(asking('gemini-a', { renames: 'path' }, '/google/v1beta/models/gemini-a:generateContent?alt=sse')),
    [
      ['/v1beta/models/gemini-a:generateContent?alt=sse', null],
      ['/v1beta/models/gemini-b:generateContent?alt=sse', 'gemini-b'],
      ['/v1beta/models/gemini-c:generateContent?alt=sse', 'gemini-c'],
    ],
  );
  for (const path of ['%6Dodels/gemini-a:generateContent', 'models/gemini-a%3AgenerateContent'])
    t.same(
      paths(asking('gemini-a', { renames: 'path' }, `/google/v1beta/${path}`)),
      [[`/v1beta/${path}`, null]],
      'no other model is put on record for a path that is not rewritten',
    );
});

t.test('stored objects are looked for with one key, always the same', async (t) => {
  const caller = callerOf([named('idle', { weight: 0 }), named('a'), named('b', { weight: 100 })]);
  const files = asking(null, { method: 'GET' }, '/openai/v1/files/f1');
  const by = { ...resolver, random: randomFrom(1) };
  for (let i = 0; i < 20; i += 1) t.same(walked(caller, files, by), ['a null']);
  t.same(walked(caller, files, { ...resolver, isWell: () => false }), ['a null'], 'well or not');
});

t.test('one that is ill is passed over, and taken where nothing else is there', async (t) => {
  const keys = [named('a', { weight: 1000 }), named('b', { weight: 0 })];
  const ill = (...ids: string[]): Resolver => ({ ...resolver, isWell: ({ id }) => !ids.includes(id) });
  t.same(
    walked(callerOf(keys), asking('gpt-4o'), ill('a')),
    ['b gpt-4o'],
    'and no second attempt goes to it',
  );
  t.same(walked(callerOf(keys), asking('gpt-4o'), ill('a', 'b')), ['a gpt-4o']);
  const falling = callerOf([...keys, named('g', {}, 'groq')], fallingTo('groq/llama'));
  t.same(walked(falling, asking('gpt-4o'), ill('a', 'b')), ['g groq/llama']);
  t.same(walked(falling, asking('gpt-4o'), ill('a', 'b', 'g')), ['a gpt-4o']);
  const { skipped } = plan(ill('a'), callerOf(keys), asking('gpt-4o'));
  t.same(skipped, [{ model: 'gpt-4o', keyId: 'a', reason: 'ill' }]);
});

t.test('the same target once more is what the caller may use now', async (t) => {
  const [a, b] = [named('a'), named('b')];
  const before = callerOf([a, b]);
  const target = resolve(resolver, before, asking('gpt-4o'));
  t.equal(sameTarget(resolver, before, asking('gpt-4o'), target), target);
  const again = (...keys: KeySnapshot[]): Target | null =>
    sameTarget(resolver, callerOf(keys), asking('gpt-4o'), target);
  t.match(again({ ...a, version: 2 }, b), { key: { id: 'a', version: 2 } }, 'a new value of it');
  t.equal(again({ ...a, isActive: false }, b), null);
  t.equal(again({ ...a, isRefused: true }, b), null);
  t.equal(again(b), null);
});

t.test('a token’s endpoints bound its calls, and those that it falls back to', async (t) => {
  const may = (endpoints: readonly string[], url: string): string =>
    codeOf(() => resolve(resolver, callerOf([named('o')], { endpoints }), asking('gpt-4o', {}, url)));
  t.equal(may(['openai.chat'], '/v1/chat/completions'), 'none');
  t.equal(may(['openai.*'], '/openai/v1/embeddings'), 'none');
  t.equal(may(['openai.embeddings'], '/v1/chat/completions'), 'ENDPOINT_FORBIDDEN');
  t.equal(may([], '/v1/chat/completions'), 'ENDPOINT_FORBIDDEN');
  t.equal(
    codeOf(() =>
      resolve(
        resolver,
        callerOf([], { endpoints: ['openai.chat'] }),
        asking('x', {}, '/openai/v1/responses'),
      ),
    ),
    'ENDPOINT_FORBIDDEN',
    'whoever pays',
  );
});
