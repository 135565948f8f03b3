import t, { type Test } from 'tap';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { ask, type Answered } from '../support/http-client.ts';
import { newSeal } from '../support/seal.ts';
import { clientPayload, storeSeal } from '../support/sealed-key.ts';
import { scriptUpstream, type SeenRequest, type Upstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const valueOf = (name: string): string => `sk-test-${name}-0123456789abcdef0123456789abcdef`;
const body = { model: 'm', max_tokens: 1, messages: [] };

async function start(t: Test): Promise<{ upstream: Upstream; gateway: TestGateway }> {
  const upstream = await scriptUpstream(t, { script: [{ body: {} }] });
  const { origin } = upstream;
  const gateway = await startGateway(t, {
    upstreams: { openai: origin, anthropic: origin, google: origin, groq: origin, xai: origin },
    settings: { SALLYPORT_ALLOW_ORIGINS: origin },
  });
  return { upstream, gateway };
}

function codeOf(answer: Answered): string {
  return answer.header('x-sallyport-code') ?? String(answer.status);
}

/** Everything that a provider was sent, apart from its body's bytes. */
function sent(request: SeenRequest | undefined): string {
  return [request?.path, ...(request?.rawHeaders ?? []), request?.body.toString('latin1')].join('\n');
}

async function journalled(gateway: TestGateway): Promise<Record<string, unknown>[]> {
  await gateway.shipped();
  const rows = await gateway.database.store.asSystem((tx) =>
    tx.selectFrom('journal').select('line').where('event', 'like', 'use.%').orderBy('seq').execute(),
  );
  return rows.map(({ line }) => JSON.parse(line));
}

t.test('a sealed key opens with its seal in every place where an SDK puts its key', async (t) => {
  const { upstream, gateway } = await start(t);
  const seal = await storeSeal(gateway);
  const sealed = { protection: 'sealed', sealId: seal.id };
  for (const provider of ['openai', 'anthropic', 'google', 'groq', 'xai'])
    await gateway.addKey(provider, valueOf(provider), sealed);
  const custom = { name: 'lab', origins: [upstream.origin], auth: 'header:api-key' };
  await gateway.addKey('custom', valueOf('lab'), { ...sealed, ...custom });
  const both = `${gateway.token}.${seal.secret}`;
  const beside = { 'x-sallyport-seal': seal.secret };

  const calls: [string, Record<string, string>, string, object][] = [
    ['/v1/chat/completions', { authorization: `Bearer ${both}` }, 'openai', { ...body, model: 'gpt-4o' }],
    ['/openai/v1/chat/completions', { 'api-key': both }, 'openai', body],
    ['/anthropic/v1/messages', { 'x-api-key': both }, 'anthropic', body],
    ['/anthropic/v1/messages', { authorization: `Bearer ${both}` }, 'anthropic', body],
    ['/google/v1beta/models/gemini-x:generateContent', { 'x-goog-api-key': both }, 'google', {}],
    [`/google/v1beta/models/gemini-x:generateContent?key=${gateway.token}`, beside, 'google', {}],
    ['/groq/openai/v1/chat/completions', { authorization: `bearer ${both}` }, 'groq', body],
    [
      '/v1/chat/completions',
      { authorization: `Bearer ${gateway.token}`, ...beside },
      'xai',
      { ...body, model: 'xai/grok' },
    ],
    ['/custom/lab/chat', { 'x-api-key': both, ...beside }, 'lab', body],
  ];
  for (const [path, headers, name, asked] of calls) {
    const answer = await ask(gateway.origin + path, { headers, body: asked });
    t.equal(codeOf(answer), '200', `${path} ${Object.keys(headers).join()}`);
    const text = sent(upstream.requests.at(-1));
    t.match(text, valueOf(name));
    t.notMatch(text, /sp[ast]_|x-sallyport-seal/i, 'nothing of ours goes on');
  }
  const ends = (await journalled(gateway)).filter(({ event }) => event === 'use.end');
  t.equal(ends.length, calls.length);
  for (const { keyFingerprint, outcome } of ends)
    t.match({ keyFingerprint, outcome }, { keyFingerprint: /^[0-9a-f]{16}$/, outcome: 'ok' });
  const { body: list } = await gateway.api('GET', '/usage/calls?limit=100');
  for (const call of list.data) t.match(call.keyFingerprint, /^[0-9a-f]{16}$/);
  const { body: key } = await gateway.api('GET', `/api-keys/${list.data[0].keyId}`);
  t.equal(key.fingerprint, list.data[0].keyFingerprint);
});

t.test(
  'without its seal, or with another, a sealed key stays closed, and the gateway says so once and for all',
  async (t) => {
    const { upstream, gateway } = await start(t);
    const [seal, foreign] = [await storeSeal(gateway), newSeal()];
    gateway.watch(foreign.secret);
    const sealed = { protection: 'sealed', sealId: seal.id };
    const keyId = await gateway.addKey('openai', valueOf('sealed'), sealed);
    await gateway.addKey('groq', valueOf('plain'));
    const call = (headers: Record<string, string | string[]>, path = '/openai/v1/chat/completions') =>
      ask(gateway.origin + path, { headers, body });
    const token = { 'x-api-key': gateway.token };

    const none = await call(token);
    t.match({ status: none.status, code: codeOf(none) }, { status: 403, code: 'SEAL_REQUIRED' });
    t.equal(none.header('x-should-retry'), 'false');
    const wrong = await call({ 'x-api-key': `${gateway.token}.${foreign.secret}` });
    t.match({ status: wrong.status, code: codeOf(wrong) }, { status: 403, code: 'SEAL_WRONG' });
    t.equal(wrong.header('x-should-retry'), 'false');
    t.match(wrong.json().error.message, /not the one that the key was sealed to/);

    for (const text of [
      '',
      'sps_',
      'sps_abc',
      'nothing',
      `${seal.secret}A`,
      seal.secret.slice(0, -1),
      `${seal.secret.slice(0, -1)}${seal.secret.endsWith('0') ? '1' : '0'}`,
    ]) {
      const inToken = await call({ 'x-api-key': `${gateway.token}.${text}` });
      const inHeader = await call({ ...token, 'x-sallyport-seal': text });
      for (const answer of [inToken, inHeader]) {
        t.equal(codeOf(answer), 'SEAL_WRONG', text);
        t.match(answer.json().error.message, /sps_ and 49 characters/);
      }
    }
    const both = { 'x-api-key': `${gateway.token}.${seal.secret}` };
    t.equal(codeOf(await call({ ...both, 'x-sallyport-seal': foreign.secret })), 'REQUEST_INVALID');
    t.equal(
      codeOf(await call({ ...token, 'x-sallyport-seal': [seal.secret, seal.secret] })),
      'REQUEST_INVALID',
    );
    t.equal(
      codeOf(await call({ ...both, 'api-key': `${gateway.token}.${foreign.secret}` })),
      'REQUEST_INVALID',
    );
    for (const url of [
      `/google/v1beta/models/g:x?key=${gateway.token}.${seal.secret}`,
      `/openai/v1/chat/completions?seal=${seal.secret}`,
      `/openai/v1/chat/completions?a=1&b=%73ps_${seal.secret.slice(4)}`,
      `/openai/v1/chat/completions?token=${gateway.token}`,
      `/openai/v1/${seal.secret}/chat`,
      `/openai/v1/%73%70%73_${seal.secret.slice(4)}`,
    ]) {
      const answer = await call(token, url);
      t.match({ code: codeOf(answer) }, { code: 'REQUEST_INVALID' }, url.replace(/sp[st]_\w+/g, '…'));
      t.match(answer.body.toString(), /never in a URL/);
    }
    t.equal(upstream.requests.length, 0, 'nothing went out');

    const plain = { ...token, 'x-sallyport-seal': foreign.secret };
    t.equal(
      codeOf(await call(plain, '/groq/openai/v1/chat/completions')),
      '200',
      'a standard key needs no seal',
    );
    t.equal(codeOf(await call(both)), '200');
    const denied = (await journalled(gateway)).filter(({ event }) => event === 'use.deny');
    t.ok(denied.some((record) => record['code'] === 'REQUEST_INVALID'));
    const { body: audit } = await gateway.api('GET', `/audit?event=use.deny&keyId=${keyId}`);
    t.same(
      audit.data.map(({ record }: { record: Record<string, unknown> }) => record['code']),
      ['SEAL_WRONG', 'SEAL_REQUIRED'],
      'which key was asked for, and by whom, stands in the journal',
    );
    for (const { tokenId, record } of audit.data)
      t.match({ tokenId, userId: record.userId }, { tokenId: /^tok_/, userId: /^usr_/ });
    t.match(await gateway.metrics(), /^sallyport_auth_refusals_total\{[^}]*code="SEAL_WRONG"[^}]*\} 15$/m);
  },
);

t.test('a guesser of seals is slowed down, and those who know theirs are not', async (t) => {
  const { gateway } = await start(t);
  const seal = await storeSeal(gateway);
  await gateway.addKey('openai', valueOf('sealed'), { protection: 'sealed', sealId: seal.id });
  await gateway.addKey('groq', valueOf('plain'));
  const { body: second } = await gateway.api('POST', '/tokens', { name: 'second' });
  const call = async (token: string, secret: string, provider = 'openai') =>
    ask(`${gateway.origin}/${provider}${provider === 'groq' ? '/openai' : ''}/v1/models`, {
      headers: { 'x-api-key': `${token}.${secret}` },
    });
  t.equal(codeOf(await call(gateway.token, seal.secret)), '200');

  const codes: string[] = [];
  for (let n = 0; n < 40; n += 1) codes.push(codeOf(await call(gateway.token, newSeal().secret)));
  t.same(new Set(codes.slice(0, 30)), new Set(['SEAL_WRONG']));
  t.same(new Set(codes.slice(32)), new Set(['RATE_LIMITED']));
  const limited = await call(gateway.token, newSeal().secret);
  t.match({ status: limited.status, after: limited.header('retry-after') }, { status: 429, after: /^\d+$/ });

  t.equal(codeOf(await call(gateway.token, seal.secret)), '200', 'a seal that was right before');
  t.equal(codeOf(await call(second.token, seal.secret)), '200', 'another token at the same address');
  t.equal(
    codeOf(await call(gateway.token, newSeal().secret, 'groq')),
    '200',
    'standard keys have nothing to guess',
  );
  const unknown = await call(gateway.token, newSeal().secret);
  t.equal(codeOf(unknown), 'RATE_LIMITED', 'not even a right one could be told from it');
});

t.test('a call that is repeated on another connection opens its key with the same seal again', async (t) => {
  const { upstream, gateway } = await start(t);
  const seal = await storeSeal(gateway);
  await gateway.addKey('openai', valueOf('sealed'), { protection: 'sealed', sealId: seal.id });
  const call = () =>
    ask(`${gateway.origin}/openai/v1/models`, {
      headers: { authorization: `Bearer ${gateway.token}.${seal.secret}` },
    });
  t.equal((await call()).status, 200);
  upstream.respond((seen, answer) => {
    if (seen.connection > 1) return { body: {} };
    answer.socket?.resetAndDestroy();
    return undefined;
  });
  const answer = await call();
  t.equal(answer.status, 200);
  t.equal(answer.header('x-sallyport-attempts'), '2');
  t.equal(upstream.requests.at(-1)?.headers.authorization, `Bearer ${valueOf('sealed')}`);
});

t.test('a payload that its owner sealed to do harm sends nothing', async (t) => {
  const { upstream, gateway } = await start(t);
  const seal = await storeSeal(gateway);
  const honest = {
    v: 1,
    type: 'bearer',
    secret: valueOf('good'),
    origins: [upstream.origin],
    createdAt: '2026-01-01T00:00:00.000Z',
  };
  let last: string | null = null;
  const store = async (payload: object | string): Promise<void> => {
    if (last !== null) await gateway.api('DELETE', `/api-keys/${last}`);
    const made = await gateway.api('POST', '/api-keys', {
      name: 'k',
      provider: 'openai',
      protection: 'sealed',
      sealId: seal.id,
      sealedPayload: clientPayload(gateway, seal, 'openai', payload),
    });
    if (made.status !== 201) throw new Error(made.body.detail);
    last = made.body.id;
  };
  const call = () =>
    ask(`${gateway.origin}/openai/v1/models`, {
      headers: { authorization: `Bearer ${gateway.token}.${seal.secret}` },
    });

  const evil: [string, object | string, string][] = [
    ['CR LF and a header', { ...honest, secret: 'sk-x\r\nhost: evil.example' }, 'KEY_INVALID'],
    ['LF', { ...honest, secret: 'sk-test-0123\n456789' }, 'KEY_INVALID'],
    ['a second request', { ...honest, secret: 'sk-x\r\n\r\nGET /evil HTTP/1.1\r\n\r\n' }, 'KEY_INVALID'],
    ['NUL', { ...honest, secret: 'sk-test-0123\u0000456789' }, 'KEY_INVALID'],
    ['NUL, escaped', JSON.stringify(honest).replace('sk-test', 'sk-\\u0000test'), 'KEY_INVALID'],
    ['a space', { ...honest, secret: 'sk-test 0123456789' }, 'KEY_INVALID'],
    ['not ASCII', { ...honest, secret: 'sk-test-é0123456789' }, 'KEY_INVALID'],
    ['an empty secret', { ...honest, secret: '' }, 'KEY_INVALID'],
    ['10 KB', { ...honest, secret: 'x'.repeat(10_000) }, 'KEY_INVALID'],
    ['another origin', { ...honest, origins: ['https://evil.example'] }, 'KEY_ORIGIN'],
    ['the header host', { ...honest, type: 'header', header: 'host' }, 'KEY_INVALID'],
    ['another header', { ...honest, type: 'header', header: 'x-api-key' }, 'KEY_INVALID'],
    ['a header in the wrong type', { ...honest, header: 'cookie' }, 'KEY_INVALID'],
    ['no credential', { v: 1, type: 'none', origins: [upstream.origin], createdAt: 'x' }, 'KEY_INVALID'],
    ['an administrative key', { ...honest, secret: 'sk-admin-0123456789abcdef' }, 'KEY_INVALID'],
    [
      'another provider’s administrative key',
      { ...honest, secret: 'sk-ant-admin01-0123456789' },
      'KEY_INVALID',
    ],
    [
      'members twice',
      JSON.stringify(honest).replace('{', '{"origins":["https://evil.example"],'),
      'KEY_INVALID',
    ],
    ['no JSON', 'sk-test-0123456789', 'KEY_INVALID'],
  ];
  for (const [what, payload, code] of evil) {
    await store(payload);
    const answer = await call();
    t.equal(codeOf(answer), code, what);
    t.equal(answer.status, 409, what);
    t.notMatch(answer.body.toString(), /sk-|evil/, 'and nothing of it is told');
  }
  t.equal(upstream.requests.length, 0, 'nothing reached the provider');
  const ends = (await journalled(gateway)).filter(({ event }) => event === 'use.end');
  t.same(
    ends.map(({ outcome, keyFingerprint }) => [outcome, keyFingerprint]),
    evil.map(([, , code]) => [code, null]),
    'every one is on record, without a name for a value that the gateway never saw',
  );
  await store(honest);
  t.equal(codeOf(await call()), '200');
});

t.test(
  'of keys that are sealed to different seals, a call’s own seal finds the one that it opens',
  async (t) => {
    const { upstream, gateway } = await start(t);
    const seals = [await storeSeal(gateway), await storeSeal(gateway)];
    for (const [at, seal] of seals.entries()) {
      const sealed = { protection: 'sealed', sealId: seal.id, name: `sealed-${at}` };
      await gateway.addKey('openai', valueOf(`of-seal-${at}`), sealed);
    }
    for (let round = 0; round < 8; round += 1) {
      for (const [at, seal] of seals.entries()) {
        const answer = await ask(`${gateway.origin}/openai/v1/models`, {
          headers: { authorization: `Bearer ${gateway.token}.${seal.secret}` },
        });
        t.equal(codeOf(answer), '200');
        t.equal(answer.header('x-sallyport-attempts'), '1');
        t.match(upstream.requests.at(-1)?.headers.authorization, `Bearer ${valueOf(`of-seal-${at}`)}`);
      }
    }
    const wrong = await ask(`${gateway.origin}/openai/v1/models`, {
      headers: { authorization: `Bearer ${gateway.token}.${newSeal().secret}` },
    });
    t.equal(codeOf(wrong), 'SEAL_WRONG');
  },
);
