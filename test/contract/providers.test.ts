import { readdirSync } from 'node:fs';
import t from 'tap';
import { createMeter } from '../../src/dialects/meter.ts';
import { modelLabel, providers } from '../../src/providers/catalogue.ts';
import type { Provider } from '../../src/providers/provider.ts';
import { recordedProviders, recordingsOf } from '../golden/recordings.ts';

/** Files of src/providers that are parts of providers, not providers. */
const parts = new Set([
  'by-path.ts',
  'canonical-path.ts',
  'catalogue.ts',
  'charge.ts',
  'cost.ts',
  'custom-endpoints.ts',
  'failure.ts',
  'headers.ts',
  'key-shape.ts',
  'openai-endpoints.ts',
  'time-limits.ts',
  'own-figure.ts',
  'price-lists.ts',
  'price-override.ts',
  'price-table.json',
  'price-table.ts',
  'price-units.ts',
  'price.ts',
  'provider.ts',
  'refused-paths.ts',
]);
const folder = new URL('../../src/providers/', import.meta.url);
const files = readdirSync(folder).filter((file) => !parts.has(file));

/** Never forwarded, whatever the provider: credentials, hop-by-hop, where a call comes from. */
const neverForwarded = [
  'authorization',
  'x-api-key',
  'x-goog-api-key',
  'api-key',
  'proxy-authorization',
  'cookie',
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'te',
  'trailer',
  'upgrade',
  'keep-alive',
  'expect',
  'forwarded',
  'x-forwarded-for',
  'x-real-ip',
  'origin',
  'referer',
  'accept-encoding',
  'x-goog-user-project',
  'x-sallyport-seal',
  'x-sallyport-provider-key',
];

const neverRelayed = [
  'set-cookie',
  'alt-svc',
  'content-security-policy',
  'server',
  'location',
  'strict-transport-security',
  'content-length',
  'transfer-encoding',
  'connection',
  'www-authenticate',
  'x-request-id',
  'request-id',
  'x-sallyport-key',
  'access-control-allow-origin',
  'openai-organization',
  'openai-project',
  'anthropic-organization-id',
  'x-goog-upload-url',
];

t.test('the catalogue holds exactly the providers that have a file', async (t) => {
  t.same([...providers.keys()].toSorted(), files.map((file) => file.replace('.ts', '')).toSorted());
  t.same(recordedProviders.toSorted(), [...providers.keys()].toSorted(), 'each has golden recordings');
});

for (const file of files) {
  t.test(`${file} keeps the contract of a provider`, async (t) => {
    const module = (await import(new URL(file, folder).href)) as { default: Provider };
    const provider = module.default;
    t.equal(`${provider.name}.ts`, file);
    t.ok(Object.isFrozen(provider));
    if (provider.name !== 'custom') {
      const { protocol, origin } = new URL(provider.origin);
      t.equal(protocol, 'https:');
      t.equal(origin, provider.origin, 'an origin has no path');
      t.match(provider.keyPage, /^https:\/\//);
      t.match(provider.usagePage, /^https:\/\//);
    }
    t.match(provider.basePath, /^(?:\/[a-z0-9]+)+$/);
    t.match(provider.credential.header, /^(?:authorization|x-api-key|x-goog-api-key)$/);
    t.equal(provider.credential.prefix, provider.credential.header === 'authorization' ? 'Bearer ' : '');
    t.notOk(provider.isRefusedPath(provider.probe.method, provider.probe.path), 'its own probe is allowed');
    for (const name of neverForwarded) {
      t.notOk(provider.requestHeaders.has(name), `${name} is not forwarded`);
      t.notOk(provider.ownKeyHeaders.has(name), `${name} is not forwarded with one's own key`);
    }
    for (const name of [...provider.requestHeaders, ...provider.ownKeyHeaders])
      t.equal(name, name.toLowerCase());
    for (const name of neverRelayed) t.notOk(provider.responseHeaders(name), `${name} is not relayed`);
    for (const name of ['content-type', 'retry-after', 'x-ratelimit-remaining-requests', 'cache-control']) {
      t.ok(provider.responseHeaders(name), `${name} is relayed`);
    }
    for (const model of provider.knownModels) t.equal(modelLabel(provider, model), model);
    t.equal(modelLabel(provider, 'made-up'), 'other');
    t.equal(modelLabel(provider, null), 'other');
    t.equal(provider.operation('GET', '/no/such/path').split('.')[1], 'other');
    t.equal(provider.classify(500, Buffer.alloc(0)), 'UPSTREAM_ERROR');
    t.equal(provider.classify(504, Buffer.alloc(0)), 'UPSTREAM_TIMEOUT');
    t.equal(provider.classify(429, Buffer.from('{')), 'UPSTREAM_RATE_LIMITED');
    t.equal(provider.classify(404, Buffer.from('[[[')), null);
    t.equal(provider.classify(200, Buffer.alloc(0)), null);
    t.equal(provider.upstreamRequestId([['X-Request-Id', 'req_1']]), 'req_1');
    t.equal(provider.upstreamRequestId([['x-request-id', 'a b']]), null);
    t.equal(provider.upstreamRequestId([]), null);
  });

  t.test(`${file}: every recording is read as it should`, async (t) => {
    const provider = providers.get(file.replace('.ts', '')) as Provider;
    for (const recording of recordingsOf(provider.name)) {
      if (recording.status !== 200) {
        t.equal(provider.classify(recording.status, recording.bytes), recording.code, recording.file);
        t.equal(provider.isKeyRefusal(recording.status, recording.bytes), recording.refusal, recording.file);
        continue;
      }
      const operation = provider.operation(recording.method ?? '', recording.path ?? '');
      t.equal(operation, recording.operation, recording.file);
      t.notOk(provider.isStatefulPath(recording.method ?? '', recording.path ?? ''), recording.file);
      const reader = provider.usageReader(operation);
      t.equal(reader === null, recording.unmetered === true, recording.file);
      if (reader === null) continue;
      const meter = createMeter(reader, {
        isStream: recording.file.includes('stream'),
        contentEncoding: null,
      });
      meter.push(recording.bytes);
      const reading = meter.finish(true);
      t.equal(reading.isComplete, true, recording.file);
      t.equal(reading.model, recording.model, recording.file);
      t.equal(reading.errorInBand, recording.error ?? null, recording.file);
      if (recording.estimated === true) {
        t.equal(reading.usageSource, 'estimated', recording.file);
        t.not(reading.usage?.outputTokens, 0, recording.file);
      } else {
        t.same(reading.usage, recording.usage, recording.file);
        const isTold = recording.usage !== null || recording.counted === true;
        t.equal(reading.usageSource, isTold ? 'provider' : 'unknown', recording.file);
      }
    }
  });
}

t.test('no bare model belongs to two providers, and each known family to one', async (t) => {
  const owner = (model: string): string[] =>
    [...providers.values()].filter((provider) => provider.servesBareModel(model)).map(({ name }) => name);
  const families: Record<string, string> = {
    'gpt-4o': 'openai',
    'gpt-image-1': 'openai',
    'chatgpt-4o-latest': 'openai',
    o1: 'openai',
    'o3-mini': 'openai',
    'o4-mini-2025-04-16': 'openai',
    'text-embedding-3-small': 'openai',
    'text-embedding-004': 'google',
    'dall-e-3': 'openai',
    'whisper-1': 'openai',
    'tts-1-hd': 'openai',
    'ft:gpt-4o-mini:acme::1': 'openai',
    'claude-sonnet-4-5': 'anthropic',
    'gemini-2.5-flash': 'google',
    'models/gemini-2.5-flash': 'google',
    'grok-4': 'xai',
  };
  for (const [model, name] of Object.entries(families)) t.same(owner(model), [name], model);
  for (const model of ['llama-3.3-70b-versatile', 'onyx', 'o', 'oops-1', 'gpt', '', '__proto__']) {
    t.same(owner(model), [], model);
  }
  for (const provider of providers.values()) {
    for (const model of provider.knownModels)
      t.ok(
        owner(model).every((name) => name === provider.name),
        model,
      );
  }
});
