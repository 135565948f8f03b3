import fc from 'fast-check';
import t from 'tap';
import { SallyportError } from '../../src/errors.ts';
import { dialectOf, isDataPlane, readPlace } from '../../src/gateway/base-url.ts';

function codeOf(url: string): string {
  try {
    readPlace(url);
    return 'ok';
  } catch (error) {
    if (error instanceof SallyportError) return error.code;
    throw error;
  }
}

t.test('each base URL is read with what follows it, byte for byte', async (t) => {
  for (const [url, base, rest, query] of [
    ['/v1/chat/completions', { kind: 'unified', dialect: 'openai' }, '/chat/completions', ''],
    ['/v1/models?limit=2', { kind: 'unified', dialect: 'openai' }, '/models', '?limit=2'],
    ['/openai/v1/files', { kind: 'native', dialect: 'openai', provider: 'openai' }, '/v1/files', ''],
    [
      '/groq/openai/v1/models',
      { kind: 'native', dialect: 'openai', provider: 'groq' },
      '/openai/v1/models',
      '',
    ],
    ['/xai/v1/models', { kind: 'native', dialect: 'openai', provider: 'xai' }, '/v1/models', ''],
    [
      '/anthropic/v1/messages?beta=true',
      { kind: 'native', dialect: 'anthropic', provider: 'anthropic' },
      '/v1/messages',
      '?beta=true',
    ],
    [
      '/google/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse',
      { kind: 'native', dialect: 'google', provider: 'google' },
      '/v1beta/models/gemini-2.5-flash:streamGenerateContent',
      '?alt=sse',
    ],
    ['/custom/ollama/api/chat', { kind: 'custom', dialect: 'openai', name: 'ollama' }, '/api/chat', ''],
    ['/custom/ollama', { kind: 'custom', dialect: 'openai', name: 'ollama' }, '/', ''],
  ] as const) {
    t.same(readPlace(url), { base, rest, query }, url);
    t.ok(isDataPlane(url), url);
  }
});

t.test('a base URL with /v1 twice is told so, other unknown paths get the list of base URLs', async (t) => {
  t.throws(() => readPlace('/v1/v1/chat/completions'), {
    code: 'NOT_FOUND',
    message: 'Your base URL has /v1 twice.',
  });
  t.throws(() => readPlace('/v1/v1'), { code: 'NOT_FOUND', message: 'Your base URL has /v1 twice.' });
  for (const [url, version, base] of [
    ['/anthropic/v1/v1/messages', '/v1', '/anthropic'],
    ['/openai/v1/v1/chat/completions', '/v1', '/openai'],
    ['/groq/openai/v1/openai/v1/chat/completions', '/openai/v1', '/groq'],
    ['/google/v1beta/v1beta/models/g:generateContent', '/v1beta', '/google'],
    ['/google/v1beta/v1/models/g:generateContent', '/v1beta', '/google'],
  ] as const)
    t.throws(
      () => readPlace(url),
      { code: 'NOT_FOUND', message: `Your base URL has ${version} twice.`, fix: new RegExp(`${base}\\.$`) },
      url,
    );
  for (const url of [
    '/custom/x/v1/v1/chat',
    '/google/v1beta/openai/v1',
    '/anthropic/v1/v1x',
    '/openai/v1/openai/v1',
  ])
    t.equal(codeOf(url), 'ok', url);
  for (const url of ['/v2/chat', '/chat/completions', '/custom/UPPER/x', '/custom/', '/custom', '/azure/x'])
    t.throws(
      () => readPlace(url),
      { code: 'NOT_FOUND', message: /\/v1, \/openai\/v1.*\/custom\/<name>/ },
      url,
    );
  for (const url of ['/v1', '/openai', '/google/', '/v1/'])
    t.throws(() => readPlace(url), { code: 'NOT_FOUND' }, url);
});

t.test('what a provider’s router could read otherwise than we do is refused', async (t) => {
  for (const path of [
    '/v1//chat',
    '/v1/../api/tokens',
    '/v1/x/..',
    '/v1/./x',
    '/v1/.',
    '/v1/a%2fb',
    '/v1/a%2Fb',
    '/v1/%2e%2e/x',
    '/v1/.%2E/x',
    '/v1/a%5cb',
    '/v1/a%00b',
    '/v1/a\\b',
    '/v1/a%zzb',
    '/v1/a%',
    '/v1/a%2',
    '/v1/\u00e9',
    '/v1/a b',
    '/v1/a\tb',
    '/v1/models?x=1#frag',
  ])
    t.equal(codeOf(path), 'REQUEST_INVALID', path);
  for (const path of ['/v1/..x', '/v1/a..b', '/v1/x.', '/v1/%252e', '/v1/a%20b', '/v1/a:b', '/v1/a;b'])
    t.equal(codeOf(path), 'ok', path);
});

t.test('the encoded slash in the name of one model goes on as it is', async (t) => {
  for (const [url, rest] of [
    ['/groq/openai/v1/models/openai%2Fgpt-oss-20b', '/openai/v1/models/openai%2Fgpt-oss-20b'],
    ['/xai/v1/models/a%2fb%2Fc?x=1', '/v1/models/a%2fb%2Fc'],
    ['/custom/openrouter/api/v1/models/mistralai%2Fm-3.2%3Afree', '/api/v1/models/mistralai%2Fm-3.2%3Afree'],
    ['/v1/models/groq/openai%2Fgpt-oss-20b', '/models/groq/openai/gpt-oss-20b'],
  ] as const)
    t.equal(readPlace(url).rest, rest, url);
  for (const path of [
    '/groq/openai/v1/models/a%2F',
    '/groq/openai/v1/models/%2Fa',
    '/groq/openai/v1/models/a%2F%2Fb',
    '/groq/openai/v1/models/a%2F..%2Ffiles',
    '/groq/openai/v1/models/a%2F.%2Fb',
    '/groq/openai/v1/models/a%2F%2e%2e%2Ffiles',
    '/groq/openai/v1/models/a%2Fb/c',
    '/groq/openai/v1/models/a%252Fb%2Fc',
    '/groq/openai%2Fv1/models/a%2Fb',
    '/groq/openai/v1/files/a%2Fb',
    '/openai/v1/models/a%2Fb%00',
    '/google/v1beta/models/a%2Fb',
    '/anthropic/v1/models/a%2Fb',
    '/v1/files/a%2Fb',
  ])
    t.equal(codeOf(path), 'REQUEST_INVALID', path);
});

t.test('errors are told in the dialect of the base URL, also where the path is refused', async (t) => {
  t.equal(dialectOf('/anthropic//x'), 'anthropic');
  t.equal(dialectOf('/google/%00'), 'google');
  for (const url of [
    '/v1/x',
    '/openai/v1/x',
    '/groq/x',
    '/xai/x',
    '/custom/a/b',
    '/',
    '//',
    '',
    '/toString/x',
  ])
    t.equal(dialectOf(url), 'openai', url);
});

t.test('no path that is let through has an empty or dot segment, however it was written', async () => {
  const piece = fc.constantFrom(
    '/',
    '//',
    '.',
    '..',
    '%2e',
    '%2F',
    '%5C',
    '\\',
    'v1',
    'openai',
    'a',
    '%00',
    '%25',
    ';',
    '?',
    '#',
    ' ',
  );
  fc.assert(
    fc.property(
      fc.constantFrom('/v1/', '/openai/', '/google/', '/custom/x/'),
      fc.array(piece, { maxLength: 12 }),
      (start, pieces) => {
        const url = start + pieces.join('');
        if (codeOf(url) !== 'ok') return;
        const { rest, query } = readPlace(url);
        const decoded = decodeURIComponent(rest);
        const segments = decoded.slice(1).split('/');
        const isPlain = segments.every((segment) => segment !== '.' && segment !== '..');
        const isTight = !rest.includes('//') && !/[\\\0]/.test(decoded);
        if (!isPlain || !isTight || query.includes('#') || !url.endsWith(rest + query)) throw new Error(url);
      },
    ),
    { numRuns: 2000 },
  );
});

t.test('what is not under a base URL is not the data plane’s', async (t) => {
  for (const url of [
    '/',
    '/api/tokens',
    '/healthz',
    '/v1x',
    '//v1/chat',
    '/V1/chat',
    '/%761/x',
    '/constructor/x',
    '',
  ])
    t.notOk(isDataPlane(url), url);
  for (const url of ['/v1', '/v1?x=/a', '/openai', '/custom?', '/xai/']) t.ok(isDataPlane(url), url);
});

t.test('a fragment is refused wherever it stands', async (t) => {
  for (const url of ['/openai/v1/models#/x', '/v1/models?a=b#c', '/custom/llm/a#?b', '/v1/#'])
    t.equal(codeOf(url), 'REQUEST_INVALID', url);
});
