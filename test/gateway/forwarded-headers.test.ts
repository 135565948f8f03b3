import fc from 'fast-check';
import t from 'tap';
import { answerHeaders, requestHeaders } from '../../src/gateway/forwarded-headers.ts';
import { providers } from '../../src/providers/catalogue.ts';
import type { Provider } from '../../src/providers/provider.ts';

const openai = providers.get('openai') as Provider;
const anthropic = providers.get('anthropic') as Provider;
const plain = { isRead: false, isStreamed: false, isUnpacked: false, isOwnKey: true };

/** Whatever a provider’s list will say one day: none of these may leave or come in. */
const neverSent = [
  'authorization',
  'proxy-authorization',
  'x-api-key',
  'api-key',
  'x-goog-api-key',
  'cookie',
  'host',
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
  'content-length',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'forwarded',
  'via',
  'x-real-ip',
  'x-sallyport-hop',
  'x-sallyport-provider',
  'x-sallyport-seal',
  'x-sallyport-provider-key',
  'origin',
  'referer',
];

t.test('no credential, cookie, hop-by-hop or forwarding header is on any provider’s list', async (t) => {
  for (const provider of providers.values()) {
    const raw = neverSent.flatMap((name) => [name.toUpperCase(), 'x']);
    t.same(requestHeaders(provider, raw, plain), [], provider.name);
  }
});

t.test('what is on the list goes as it came, in order, repeated ones too', async (t) => {
  const raw = [
    'Accept',
    'a/b',
    'User-Agent',
    'x/1',
    'anthropic-beta',
    'one',
    'X-Other',
    'no',
    'anthropic-beta',
    'two',
  ];
  t.same(requestHeaders(anthropic, raw, plain), [
    'accept',
    'a/b',
    'user-agent',
    'x/1',
    'anthropic-beta',
    'one',
    'anthropic-beta',
    'two',
  ]);
});

t.test('a header that `connection` nominates ends here', async (t) => {
  const raw = ['user-agent', 'x', 'Connection', 'close, User-Agent', 'accept', 'y', 'connection', ' ACCEPT '];
  t.same(requestHeaders(openai, raw, plain), []);
  t.same(requestHeaders(openai, ['connection', 'keep-alive', 'accept', 'y'], plain), ['accept', 'y']);
});

t.test('an answer that is read is asked for uncoded, any other as the client wished', async (t) => {
  const raw = ['accept-encoding', 'br'];
  t.same(requestHeaders(openai, raw, plain), ['accept-encoding', 'br']);
  t.same(requestHeaders(openai, raw, { ...plain, isRead: true }), ['accept-encoding', 'identity']);
});

t.test('whose account pays is chosen with one’s own key only', async (t) => {
  const raw = ['OpenAI-Organization', 'org-1'];
  t.same(requestHeaders(openai, raw, plain), ['openai-organization', 'org-1']);
  t.same(requestHeaders(openai, raw, { ...plain, isOwnKey: false }), []);
});

t.test('of an answer’s headers those come through that are about the answer', async (t) => {
  const given: [string, string][] = [
    ['content-type', 'a/b'],
    ['content-length', '3'],
    ['content-encoding', 'gzip'],
    ['x-ratelimit-remaining', '1'],
    ['retry-after', '2'],
    ['set-cookie', 'a=b'],
    ['location', 'https://x'],
    ['server', 'y'],
    ['alt-svc', 'h3'],
    ['x-request-id', 'theirs'],
    ['x-sallyport-key', 'forged'],
    ['x-sallyport-receipt', 'forged'],
    ['connection', 'close, etag'],
    ['etag', '"1"'],
    ['strict-transport-security', 'z'],
    ['openai-organization', 'acme'],
    ['transfer-encoding', 'chunked'],
    ['trailer', 'x'],
    ['access-control-allow-origin', '*'],
    ['server-timing', 'a'],
    ['x-powered-by', 'p'],
    ['www-authenticate', 'Basic'],
  ];
  t.same(answerHeaders(openai, given, true), [
    'content-type',
    'a/b',
    'content-length',
    '3',
    'content-encoding',
    'gzip',
    'x-ratelimit-remaining',
    '1',
    'retry-after',
    '2',
  ]);
  t.notOk(answerHeaders(openai, given, false).includes('content-length'), 'where bytes are held back');
});

t.test('no name that is not on a list gets through in either direction', async () => {
  const name = fc.oneof(fc.constantFrom(...neverSent), fc.stringMatching(/^x-[a-z]{1,6}$/));
  fc.assert(
    fc.property(
      fc.constantFrom(...providers.values()),
      fc.array(name, { maxLength: 8 }),
      (provider, names) => {
        const raw = names.flatMap((each) => [each, '1']);
        const sent = requestHeaders(provider, raw, plain);
        for (let i = 0; i < sent.length; i += 2)
          if (
            !provider.requestHeaders.has(sent[i] as string) &&
            !provider.ownKeyHeaders.has(sent[i] as string)
          )
            throw new Error(sent[i]);
        const pairs = names.map((each): [string, string] => [each, '1']);
        const out = answerHeaders(provider, pairs, false);
        for (let i = 0; i < out.length; i += 2)
          if (!provider.responseHeaders(out[i] as string)) throw new Error(out[i]);
      },
    ),
  );
});
