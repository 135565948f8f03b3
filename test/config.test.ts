import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { readConfig, settings } from '../src/config.ts';
import { SallyportError } from '../src/errors.ts';

function refusal(env: Record<string, string>): string {
  try {
    readConfig(env);
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'CONFIG_INVALID') return error.message;
    throw error;
  }
  return 'accepted';
}

t.test('an empty environment gives the documented defaults', async (t) => {
  const config = readConfig({ HOME: '/root', PATH: '/bin' });
  t.match(config, { host: '127.0.0.1', port: 8080, adminPort: null, metricsPort: null, migrate: 'auto' });
  t.match(config, { maxJsonBytes: 64 * 1024 ** 2, maxUploadBytes: 512 * 1024 ** 2, authStaleSeconds: 300 });
  t.equal(config.dataDir, join(import.meta.dirname, '..', 'data'), 'data in the checkout');
  t.equal(config.origins.google, 'https://generativelanguage.googleapis.com');
  t.equal(config.operatorSetOrigins.size, 0);
  t.ok(Object.isFrozen(config));
  t.notOk('openaiOrigin' in config, 'origins stand in one place');
});

t.test('values are read in their kinds, and an empty one counts as not set', async (t) => {
  const config = readConfig({
    PORT: '',
    ADMIN_PORT: '0',
    MAX_JSON_BYTES: '2 MiB',
    SALLYPORT_OPENAI_ORIGIN: 'http://127.0.0.1:4000/',
    SALLYPORT_ALLOW_ORIGINS: 'http://localhost:11434, http://10.0.0.5:8000,',
    TRUSTED_PROXIES: '10.0.0.0/8,::1',
    SALLYPORT_URL: 'https://gate.example/base/',
  });
  t.equal(config.port, 8080);
  t.equal(config.adminPort, 0);
  t.equal(config.maxJsonBytes, 2 * 1024 ** 2);
  t.equal(config.origins.openai, 'http://127.0.0.1:4000');
  t.same([...config.operatorSetOrigins], ['openai']);
  t.same(config.allowOrigins, ['http://localhost:11434', 'http://10.0.0.5:8000']);
  t.same(config.trustedProxies, ['10.0.0.0/8', '::1']);
  t.equal(config.url, 'https://gate.example/base');
});

t.test('an unknown SALLYPORT_ name is refused, and a near one is named', async (t) => {
  t.match(refusal({ SALLYPORT_OPEN_AI_ORIGIN: 'x' }), /did you mean SALLYPORT_OPENAI_ORIGIN\?$/);
  t.match(refusal({ SALLYPORT_PORT: '8080' }), /did you mean PORT\?$/);
  t.match(refusal({ SALLYPORT_ADMIN_TOKEN_FIEL: 'x' }), /did you mean SALLYPORT_ADMIN_TOKEN_FILE\?$/);
  t.match(refusal({ SALLYPORT_COLOUR: 'x' }), /is not a setting; docs\/configuration\.md lists them all\.$/);
  t.match(refusal({ SALLYPORT_PORT: 'tcp://10.0.0.1:8080' }), /enableServiceLinks: false/);
  t.match(refusal({ SALLYPORT_SERVICE_HOST: '10.0.0.1' }), /enableServiceLinks: false/);
  t.equal(
    refusal({ ['SALLYPORT_' + 'x'.repeat(1e6)]: '' }).includes('not a setting'),
    true,
    'a huge name too',
  );
});

t.test(
  'a bad value of each setting is refused in one sentence that names it and never repeats it',
  async (t) => {
    const bad: Record<string, string[]> = {
      HOST: ['a b', 'http://x'],
      PORT: ['80a', '-1', '65536', '1e3', '0x10', ' 80'],
      ADMIN_PORT: ['99999'],
      METRICS_PORT: ['x'],
      DATABASE_URL: ['mysql://x', 'not a url'],
      DATABASE_MIGRATE_URL: ['http://x'],
      MIGRATE: ['on'],
      LOG_LEVEL: ['verbose'],
      SALLYPORT_OPENAI_ORIGIN: ['https://x/v1', 'ftp://x', 'https://u:p@x', 'x', 'https://x?', 'file:///etc'],
      SALLYPORT_ALLOW_ORIGINS: ['http://ok:1,https://x/path'],
      IMPORT_ENV_KEYS: ['never'],
      JOURNAL_SYNC: ['fast'],
      JOURNAL_MAX_BYTES: ['1', '10GB', '-1'],
      AUTH_STALE_SECONDS: ['1.5', '86401'],
      MAX_JSON_BYTES: ['0', '2GiB'],
      UPSTREAM_TIMEOUTS: [
        'groq.firstByte',
        'openai.first=1s',
        'mistral.total=1s',
        'openai.total=1d',
        'openai.total=25h',
        'openai.total=1s,openai.total=2s',
      ],
      TRUSTED_PROXIES: ['10.0.0.0/33', 'proxy.example', '10.0.0.0/8/8', '::1/129', '0.0.0.0/0', '::/0'],
      EGRESS_PROXY: [
        'proxy:3128',
        'socks5://p:1080',
        'http://p/path',
        'http://p?x',
        'http://a%3ab:c@p',
        'http://a:%0d@p',
        'http://a:%ff@p',
      ],
      EGRESS_DIRECT_ORIGINS: ['vault.corp.example', 'https://x/path'],
      TLS_CERT_FILE: ['a\0b'],
      TLS_MIN: ['1.1', 'TLSv1.3'],
      REQUIRE_TLS: ['on'],
      ALLOW_PLAIN_HTTP: ['yes', '1', 'TRUE'],
      CORS_ORIGINS: ['*', 'null'],
      SALLYPORT_URL: ['gate.example', 'https://x?y=1'],
      SALLYPORT_ADMIN_TOKEN: ['spt_gatewaytoken', 'sk-abc'],
    };
    for (const [name, values] of Object.entries(bad)) {
      for (const value of values) {
        const message = refusal({ [name]: value });
        t.ok(message.startsWith(`${name} must`), `${name} ${value}: ${message}`);
        t.notOk(value.length > 3 && message.includes(value), 'the value stays out of it');
        t.notOk(message.includes('\n'));
      }
    }
  },
);

t.test('secrets come from a file too, and only one of the two may be set', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'config-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const file = join(dir, 'ring');
  writeFileSync(file, '{"keys":[]}\n', { mode: 0o600 });
  t.equal(readConfig({ SALLYPORT_KEYRING_FILE: file }).keyring, '{"keys":[]}');
  t.match(refusal({ SALLYPORT_KEYRING_FILE: file, SALLYPORT_KEYRING: 'x' }), /both set/);
  t.match(refusal({ SALLYPORT_KEYRING_FILE: join(dir, 'none') }), /cannot be read \(ENOENT\)/);
  const { transitToken } = readConfig({ SALLYPORT_TRANSIT_TOKEN_FILE: file });
  t.equal(transitToken(), '{"keys":[]}');
  writeFileSync(file, 'hvs.renewed\n');
  t.equal(transitToken(), 'hvs.renewed', 'an agent may write it anew');
  t.equal(readConfig({ SALLYPORT_TRANSIT_TOKEN: 'hvs.fixed' }).transitToken(), 'hvs.fixed');
  t.match(refusal({ SALLYPORT_TRANSIT_TOKEN: 'two words' }), /without spaces/);
  writeFileSync(file, '\n');
  t.match(refusal({ SALLYPORT_KEYRING_FILE: file }), /empty file/);
  writeFileSync(file, 'hunter2');
  t.match(refusal({ DATABASE_URL_FILE: file }), /^DATABASE_URL_FILE must be a URL/);
  t.notMatch(refusal({ DATABASE_URL_FILE: file }), /hunter2/);
  t.match(refusal({ SALLYPORT_OPENAI_ORIGIN_FILE: file }), /not a setting/, 'only secrets come from files');
});

const tls = { TLS_CERT_FILE: '/etc/tls/cert.pem', TLS_KEY_FILE: '/etc/tls/key.pem' };

t.test('a host other than loopback needs TLS, a trusted proxy or an explicit permission', async (t) => {
  for (const HOST of ['0.0.0.0', '::', '192.168.1.5', 'gate.example', '127.evil.example']) {
    t.match(refusal({ HOST }), /^HOST is not a loopback address/, HOST);
    t.equal(refusal({ HOST, ALLOW_PLAIN_HTTP: 'true' }), 'accepted');
    t.equal(refusal({ HOST, TRUSTED_PROXIES: '10.0.0.1' }), 'accepted');
    t.equal(refusal({ HOST, ...tls }), 'accepted');
  }
  for (const HOST of ['127.0.0.1', '127.8.8.8', '::1', 'localhost']) t.equal(refusal({ HOST }), 'accepted');
});

t.test('settings of TLS that contradict each other, or would refuse every call, are refused', async (t) => {
  t.match(readConfig(tls), { tlsCertFile: '/etc/tls/cert.pem', tlsMin: '1.3', requireTls: false });
  for (const [name, value] of Object.entries(tls))
    t.match(refusal({ [name]: value }), /set both, or neither/);
  const REQUIRE_TLS = 'true';
  t.match(refusal({ REQUIRE_TLS }), /would refuse every call/);
  t.match(refusal({ REQUIRE_TLS, ...tls, ALLOW_PLAIN_HTTP: 'true' }), /both true/);
  t.equal(refusal({ REQUIRE_TLS, ...tls }), 'accepted');
  t.equal(refusal({ REQUIRE_TLS, TRUSTED_PROXIES: '::1' }), 'accepted');
});

t.test('several workers need one port that all of them know', async (t) => {
  t.match(refusal({ WORKERS: '2', PORT: '0' }), /cannot be 0/);
  t.match(refusal({ WORKERS: '2', METRICS_PORT: '0' }), /cannot be 0/);
  t.equal(refusal({ WORKERS: '2' }), 'accepted');
  t.equal(refusal({ PORT: '0' }), 'accepted');
});

t.test('docs/configuration.md lists the settings as they are', async (t) => {
  const page = readFileSync(join(import.meta.dirname, '..', 'docs', 'configuration.md'), 'utf8');
  const rows = page.split('\n').filter((line) => /^\| `[A-Z]/.test(line));
  const expected = settings.map((setting) => {
    const name = setting.isSecret ? `\`${setting.name}\`, \`${setting.name}_FILE\`` : `\`${setting.name}\``;
    const fallback = setting.default === null || setting.default === '' ? '' : `\`${setting.default}\``;
    return `| ${name} | ${setting.type} | ${fallback} | ${setting.doc} |`;
  });
  t.same(rows, expected);
});

t.test('a switch that turns certificate checks off is refused, not overlooked', async (t) => {
  t.match(refusal({ NODE_TLS_REJECT_UNAUTHORIZED: '0' }), /NODE_EXTRA_CA_CERTS/);
  t.equal(refusal({ NODE_TLS_REJECT_UNAUTHORIZED: '1' }), 'accepted');
});

t.test('a file of root keys that others may read is refused', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const file = join(dir, 'ring.json');
  writeFileSync(file, '{}', { mode: 0o600 });
  t.equal(readConfig({ SALLYPORT_KEYRING_FILE: file }).keyring, '{}');
  for (const mode of [0o640, 0o604, 0o660]) {
    chmodSync(file, mode);
    t.match(refusal({ SALLYPORT_KEYRING_FILE: file }), /others may read.*chmod 600/, mode.toString(8));
  }
  t.match(refusal({ SALLYPORT_KEYRING_FILE: join(dir, 'none') }), /cannot be read \(ENOENT\)/);
});

t.test('time limits are read by provider, in the unit that they are written in', async (t) => {
  const { upstreamTimeouts } = readConfig({
    UPSTREAM_TIMEOUTS: 'openai.firstByte=900s, custom.total=10m,openai.connect=250ms,custom.betweenBytes=0s',
  });
  t.same(Object.fromEntries(upstreamTimeouts), {
    openai: { firstByteMs: 900_000, connectMs: 250 },
    custom: { totalMs: 600_000, betweenBytesMs: 0 },
  });
  t.equal(readConfig({}).upstreamTimeouts.size, 0);
});
