import t from 'tap';
import { isAdministrative, providers } from '../../src/providers/catalogue.ts';

const fits = (name: string, key: string): boolean | undefined =>
  providers.get(name)?.keyShape.pattern(Buffer.from(key, 'latin1'));

t.test('each provider knows its own keys and not the others', async (t) => {
  const keys: Record<string, string> = {
    openai: `sk-proj-${'a'.repeat(40)}`,
    anthropic: `sk-ant-api03-${'a'.repeat(80)}`,
    google: `AIza${'b'.repeat(35)}`,
    groq: `gsk_${'c'.repeat(52)}`,
    xai: `xai-${'d'.repeat(80)}`,
  };
  for (const owner of Object.keys(keys)) {
    for (const [name, key] of Object.entries(keys))
      t.equal(fits(owner, key), owner === name, `${name} at ${owner}`);
    t.ok(fits('custom', keys[owner] as string));
    t.notMatch(providers.get(owner)?.keyShape.hint, /undefined/);
  }
  t.ok(fits('google', `AQ.${'e'.repeat(50)}`), 'Google issues these since 2026');
});

t.test('a key with white space, control or non-ASCII bytes has no shape at all', async (t) => {
  for (const name of providers.keys()) {
    for (const bad of [' ', '\n', '\r\n', '\0', '\x7f', '\xe4']) {
      t.notOk(fits(name, `sk-aaaaaaaaaaaaaaaaaaaaaaaa${bad}`));
      t.notOk(fits(name, `${bad}sk-ant-aaaaaaaaaaaaaaaaaaaaaaaa`));
    }
    t.notOk(fits(name, ''));
    t.notOk(fits(name, 'sk-'));
    t.notOk(fits(name, `sk-${'a'.repeat(8190)}`), 'longer than 8192 bytes');
  }
});

t.test('a key with power over an account is known by its start, whatever it is stored for', async (t) => {
  const administrative = ['sk-admin-0123456789abcdef', `sk-ant-admin01-${'a'.repeat(80)}`];
  const ordinary = [
    'sk-proj-0123456789abcdef',
    'sk-svcacct-0123456789',
    'sk-adminish-0123456789',
    'sk-ant-api03-0123456789',
    'gsk_sk-admin-0123456789',
    'sk-admin',
    '',
  ];
  for (const name of providers.keys()) {
    for (const key of administrative)
      t.equal(isAdministrative(name, Buffer.from(key)), name !== 'custom', `${name} ${key}`);
    for (const key of ordinary) t.notOk(isAdministrative(name, Buffer.from(key)), `${name} ${key}`);
  }
  t.ok(fits('openai', 'sk-admin-0123456789abcdef'), 'it is one of its provider’s keys');
  t.ok(fits('anthropic', 'sk-ant-admin01-0123456789'));
});
