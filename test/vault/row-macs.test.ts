import { createSecretKey, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { isSameMac, macOf, type MacField } from '../../src/vault/mac.ts';
import { keyMacFields, sealMacFields, tokenMacFields } from '../../src/vault/row-macs.ts';

const key = createSecretKey(randomBytes(32));

const token: Parameters<typeof tokenMacFields>[0] = {
  id: 'tok_1',
  workspace_id: 'ws_1',
  user_id: 'usr_1',
  kind: 'gateway',
  prefix: 'spt_abcdefghijkl',
  verifier: Buffer.alloc(32, 1),
  providers: null,
  models: ['gpt-4o'],
  key_ids: null,
  requests_per_minute: 600,
  concurrent_calls: 100,
  endpoints: null,
  networks: null,
  policy: null,
  expires_at: new Date(1_800_000_000_000),
  revoked_at: null,
};

const providerKey: Parameters<typeof keyMacFields>[0] = {
  id: 'key_1',
  workspace_id: 'ws_1',
  user_id: 'usr_1',
  name: 'main',
  provider: 'openai',
  source: 'own',
  protection: 'standard',
  seal_id: null,
  auth: 'bearer',
  origins: ['https://api.openai.com'],
  base_path: '/v1',
  operator_origin: false,
  version: 1,
  is_active: true,
  shared_with: null,
  purpose: 'relay',
  weight: 1,
  stream_usage: false,
  expires_at: null,
};

t.test('a change of any column that grants something changes a token’s MAC', async (t) => {
  const mac = macOf(key, tokenMacFields(token));
  const changes: { [Name in keyof typeof token]: (typeof token)[Name] } = {
    id: 'tok_2',
    workspace_id: 'ws_2',
    user_id: 'usr_2',
    kind: 'admin',
    prefix: 'spa_abcdefghijkl',
    verifier: Buffer.alloc(32, 2),
    providers: [],
    models: null,
    key_ids: ['key_1'],
    requests_per_minute: 601,
    concurrent_calls: 101,
    endpoints: [],
    networks: [],
    policy: '{}',
    expires_at: null,
    revoked_at: new Date(1),
  };
  for (const [name, value] of Object.entries(changes)) {
    t.notOk(isSameMac(macOf(key, tokenMacFields({ ...token, [name]: value })), mac), name);
  }
  // The three that older tokens lack stand in the list only where they say something, each after its name.
  t.equal(Object.keys(changes).length, tokenMacFields(token).length + 3);
  t.ok(isSameMac(macOf(key, tokenMacFields({ ...token })), mac));
});

t.test('a change of any column that grants something changes a provider key’s MAC', async (t) => {
  const mac = macOf(key, keyMacFields(providerKey));
  const changes: Omit<typeof providerKey, 'name'> = {
    id: 'key_2',
    workspace_id: 'ws_2',
    user_id: 'usr_2',
    provider: 'groq',
    source: 'managed',
    protection: 'sealed',
    seal_id: 'seal_1',
    auth: 'none',
    origins: ['https://evil.example'],
    base_path: '/v2',
    operator_origin: true,
    version: 2,
    is_active: false,
    shared_with: 'workspace',
    purpose: 'usage',
    weight: 2,
    stream_usage: true,
    expires_at: new Date(1),
  };
  for (const [name, value] of Object.entries(changes)) {
    t.notOk(isSameMac(macOf(key, keyMacFields({ ...providerKey, [name]: value })), mac), name);
  }
  // Purpose, weight and the option for usage are fields only where they differ from what keys had before.
  t.equal(Object.keys(changes).length, keyMacFields(providerKey).length + 3);
  t.notOk(macOf(key, keyMacFields({ ...providerKey, shared_with: ['usr_2'] })).equals(mac));
});

t.test('a change of anything that a seal’s row says changes its MAC', async (t) => {
  const seal: Parameters<typeof sealMacFields>[0] = {
    id: 'seal_1',
    workspace_id: 'ws_1',
    created_by: 'usr_1',
    public_key: randomBytes(32),
    derivation: { type: 'argon2id', salt: 'c2FsdA', memoryKiB: 65_536, passes: 3, parallelism: 1 },
  };
  const mac = macOf(key, sealMacFields(seal));
  const derivation = seal.derivation;
  for (const change of [
    { id: 'seal_2' },
    { workspace_id: 'ws_2' },
    { created_by: 'usr_2' },
    { public_key: randomBytes(32) },
    { derivation: null },
    ...(derivation === null
      ? []
      : [
          { derivation: { ...derivation, salt: 'b3RoZXI' } },
          { derivation: { ...derivation, memoryKiB: 1 } },
          { derivation: { ...derivation, passes: 1 } },
          { derivation: { ...derivation, parallelism: 2 } },
        ]),
  ])
    t.notOk(isSameMac(macOf(key, sealMacFields({ ...seal, ...change })), mac), JSON.stringify(change));
  t.ok(isSameMac(macOf(key, sealMacFields({ ...seal })), mac));
});

t.test('no two lists of fields have one form', async (t) => {
  const field: fc.Arbitrary<MacField> = fc.oneof(
    fc.string({ maxLength: 3 }),
    fc.constantFrom('', 'n', '0', '1', 'true', 'null'),
    fc.integer({ min: -2, max: 2 }),
    fc.boolean(),
    fc.constant(null),
    fc.array(fc.string({ maxLength: 2 }), { maxLength: 3 }),
  );
  const fields = fc.array(field, { maxLength: 4 });
  fc.assert(
    fc.property(
      fields,
      fields,
      (a, b) => macOf(key, a).equals(macOf(key, b)) === (JSON.stringify(a) === JSON.stringify(b)),
    ),
    { numRuns: 2000 },
  );
  const pairs: readonly (readonly [readonly MacField[], readonly MacField[]])[] = [
    [['a', 'b'], ['ab']],
    [[['a', 'b']], [['a'], 'b']],
    [[[]], [null]],
    [[['']], [[]]],
    [[1], ['1']],
    [[true], ['1']],
    [[null], ['']],
  ];
  for (const [a, b] of pairs) t.notOk(macOf(key, a).equals(macOf(key, b)), JSON.stringify([a, b]));
  for (const odd of [0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60])
    t.throws(() => macOf(key, [odd]), RangeError);
});

t.test('a MAC of another key or length is not the same', async (t) => {
  const mac = macOf(key, tokenMacFields(token));
  t.notOk(isSameMac(mac, macOf(createSecretKey(randomBytes(32)), tokenMacFields(token))));
  t.notOk(isSameMac(mac, mac.subarray(0, 31)));
  t.notOk(isSameMac(mac, Buffer.alloc(0)));
});

t.test('the name of a custom provider is where calls go by it, and a label elsewhere', async (t) => {
  const custom = { ...providerKey, provider: 'custom', name: 'llm' };
  const mac = macOf(key, keyMacFields(custom));
  t.notOk(isSameMac(macOf(key, keyMacFields({ ...custom, name: 'other' })), mac));
  t.ok(
    isSameMac(
      macOf(key, keyMacFields({ ...providerKey, name: 'other' })),
      macOf(key, keyMacFields(providerKey)),
    ),
  );
});
