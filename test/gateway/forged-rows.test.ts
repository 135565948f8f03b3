import t, { type Test } from 'tap';
import { mintToken } from '../../src/ids.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { newSeal } from '../support/seal.ts';
import { storeSeal } from '../support/sealed-key.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(90_000);

const valueOf = (name: string): string => `sk-test-${name}-0123456789abcdef0123456789abcdef`;
const upstream = await scriptUpstream(t, { script: [{ body: {} }] });
/** Another origin that the operator listed: where a stolen key would be sent, if rows were believed. */
const evil = await scriptUpstream(t, { script: [{ body: {} }] });
const gateway = await startGateway(t, {
  upstreams: { openai: upstream.origin, groq: evil.origin },
  settings: { SALLYPORT_ALLOW_ORIGINS: `${upstream.origin},${evil.origin}` },
});
const { database } = gateway;

/** Statements by whoever can write to the database; the gateway has seen them when this resolves. */
async function sql(tables: string, statements: string): Promise<void> {
  const each = (force: string): string =>
    tables
      .split(' ')
      .map((table) => `alter table ${table} ${force} row level security`)
      .join('; ');
  await database.owner(
    `begin; ${each('no force')}; ${statements}; update epoch set value = value + 1; ${each('force')}; commit`,
  );
  await gateway.app.dataPlane.epoch.refresh();
}

const copies = 'provider_keys provider_key_versions seals tokens';

async function keep(): Promise<void> {
  await sql(
    copies,
    copies
      .split(' ')
      .map((table) => `create table kept_${table} as select * from ${table}`)
      .join('; '),
  );
}

/** What was edited is as it was. */
async function restore(): Promise<void> {
  const back = copies.split(' ').map((table) => `insert into ${table} select * from kept_${table}`);
  await sql(
    copies,
    `delete from provider_key_versions; delete from provider_keys; delete from seals; delete from tokens; ${[back[2], back[3], back[0], back[1]].join('; ')}`,
  );
}

async function call(path: string, credential: string): Promise<string> {
  const answer = await ask(gateway.origin + path, {
    headers: { 'x-api-key': credential },
    body: { model: 'm' },
  });
  return answer.header('x-sallyport-code') ?? String(answer.status);
}

const seal = await storeSeal(gateway);
const foreign = newSeal();
gateway.watch(foreign.secret);
const { body: user } = await gateway.api('POST', '/users', { name: 'other' });
const standard = await gateway.addKey('openai', valueOf('standard'));
const custom = await gateway.addKey('custom', valueOf('custom'), { name: 'lab', origins: [upstream.origin] });
const second = await gateway.addKey('openai', valueOf('second'), { userId: user.id });
const mine = `${gateway.token}.${seal.secret}`;
const { body: elsewhere } = await gateway.api('POST', '/workspaces', { name: 'elsewhere' });
const { body: theirs } = await gateway.api(
  'POST',
  '/api-keys',
  { name: 'k', provider: 'openai', value: valueOf('theirs'), force: true },
  elsewhere.adminToken,
);
await keep();

function wasAlarmed(t: Pick<Test, 'ok'>, from: number, what: string): void {
  t.ok(
    gateway.logLines.slice(from).some((line) => /database\.forged-row|vault\.alarm/.test(line)),
    `${what}: the operator is told`,
  );
}

t.test('a key’s row of which anything that counts was edited is no key', async (t) => {
  t.equal(await call('/openai/v1/x', mine), '200');
  t.equal(await call('/custom/lab/x', mine), '200');
  const edits: [string, string, string, string][] = [
    ['provider', `'groq'`, standard, '/groq/openai/v1/x'],
    ['provider', `'custom'`, standard, '/custom/openai/x'],
    ['provider', `'groq'`, custom, '/groq/openai/v1/x'],
    ['version', '2', standard, '/openai/v1/x'],
    ['protection', `'sealed'`, standard, '/openai/v1/x'],
    ['seal_id', `'${seal.id}'`, standard, '/openai/v1/x'],
    ['origins', `array['${evil.origin}']`, custom, '/custom/lab/x'],
    ['origins', `array['${evil.origin}', '${upstream.origin}']`, custom, '/custom/lab/x'],
    ['origins', `array['${evil.origin}']`, standard, '/openai/v1/x'],
    ['base_path', `'/evil'`, custom, '/custom/lab/x'],
    ['name', `'labb'`, custom, '/custom/labb/x'],
    ['auth', `'header:x-api-key'`, custom, '/custom/lab/x'],
    ['auth', `'none'`, custom, '/custom/lab/x'],
    ['operator_origin', 'not operator_origin', custom, '/custom/lab/x'],
    ['purpose', `'usage'`, standard, '/openai/v1/x'],
    ['source', `'managed'`, standard, '/openai/v1/x'],
    ['expires_at', `now() + interval '1 day'`, standard, '/openai/v1/x'],
    ['is_active', 'false', standard, '/openai/v1/x'],
    ['id', `'key_' || repeat('0', 32)`, standard, '/openai/v1/x'],
    ['mac', `sha256('x')`, standard, '/openai/v1/x'],
    ['mac', `''::bytea`, standard, '/openai/v1/x'],
  ];
  for (const [column, value, id, path] of edits) {
    const [from, out] = [gateway.logLines.length, upstream.requests.length];
    // A version that does not exist leaves no row to join: nothing is forged then, there is nothing.
    const move =
      column === 'version' ? `; update provider_key_versions set version = 2 where key_id = '${id}'` : '';
    const drop = column === 'id' ? `delete from provider_key_versions where key_id = '${id}'; ` : '';
    const follow =
      column === 'id'
        ? `; insert into provider_key_versions select (jsonb_populate_record(v, jsonb_build_object('key_id', 'key_' || repeat('0', 32)))).* from kept_provider_key_versions v where key_id = '${id}'`
        : '';
    await sql(
      copies,
      `${drop}update provider_keys set ${column} = ${value} where id = '${id}'${move}${follow}`,
    );
    t.equal(await call(path, mine), 'KEY_MISSING', `${column} = ${value}`);
    t.equal(upstream.requests.length, out);
    wasAlarmed(t, from, column);
    await restore();
  }
  await sql(copies, `update provider_keys set user_id = '${user.id}' where id = '${standard}'`);
  t.equal(await call('/openai/v1/x', mine), 'KEY_MISSING', 'a key given to another user');
  await restore();
  await sql(
    copies,
    `delete from provider_key_versions where key_id = '${standard}';
     update provider_keys set (workspace_id, user_id) = (select workspace_id, user_id from provider_keys where id = '${theirs.id}') where id = '${standard}';
     insert into provider_key_versions select (jsonb_populate_record(v, jsonb_build_object('workspace_id', '${elsewhere.workspaceId ?? elsewhere.id}'))).* from kept_provider_key_versions v where key_id = '${standard}'`,
  );
  t.equal(await call('/openai/v1/x', elsewhere.token), '200', 'their own pays');
  t.equal(
    upstream.requests.at(-1)?.headers.authorization,
    `Bearer ${valueOf('theirs')}`,
    'not the newer one that was moved to them',
  );
  await restore();
  await sql(copies, `update provider_keys set name = 'renamed', description = 'x' where id = '${standard}'`);
  t.equal(await call('/openai/v1/x', mine), '200', 'a label of a known provider’s key grants nothing');
  t.equal(evil.requests.length, 0);
  await restore();
});

t.test('what lies sealed opens in its own place only', async (t) => {
  const swap = (columns: string, other: string): string => {
    const names = columns.split(' ');
    const set = names.map((name) => `${name} = b.${name}`).join(', ');
    return `update provider_key_versions a set ${set} from (select * from provider_key_versions) b
      where (a.key_id, b.key_id) in (('${standard}', '${other}'), ('${other}', '${standard}'))`;
  };
  for (const [what, statement] of [
    ['both blobs of two keys', swap('wrap payload', second)],
    ['the payloads of two keys', swap('payload', second)],
    ['the wraps of two keys', swap('wrap', second)],
    ['both blobs of two workspaces', swap('wrap payload', theirs.id)],
    [
      'one bit of the payload',
      `update provider_key_versions set payload = set_bit(payload, 700, 1 - get_bit(payload, 700))`,
    ],
    [
      'one bit of the wrap',
      `update provider_key_versions set wrap = set_bit(wrap, 700, 1 - get_bit(wrap, 700))`,
    ],
    ['a payload cut short', `update provider_key_versions set payload = substring(payload for 300)`],
    ['a payload that is empty', `update provider_key_versions set payload = ''`],
  ] as const) {
    const [from, out] = [gateway.logLines.length, upstream.requests.length];
    await sql(copies, statement);
    t.equal(await call('/openai/v1/x', mine), 'KEY_INVALID', what);
    t.equal(upstream.requests.length, out);
    wasAlarmed(t, from, what);
    await restore();
  }
  t.equal(await call('/openai/v1/x', mine), '200');
});

t.test(
  'a seal’s row that was edited or inserted opens nothing, and lets nothing be sealed to it',
  async (t) => {
    await gateway.addKey('openai', valueOf('sealed'), { protection: 'sealed', sealId: seal.id });
    await sql(
      copies,
      copies
        .split(' ')
        .map((table) => `drop table kept_${table}`)
        .join('; '),
    );
    await keep();
    const stolen = `${gateway.token}.${foreign.secret}`;
    t.equal(await call('/openai/v1/x', mine), '200');
    t.equal(await call('/openai/v1/x', stolen), 'SEAL_WRONG', 'one user’s token with another’s seal');
    const publicKey = `decode('${Buffer.from(foreign.publicKey, 'base64url').toString('hex')}', 'hex')`;
    const other = `'seal_' || repeat('0', 32)`;
    const insert = `insert into seals (id, workspace_id, created_by, name, public_key, mac)
    select ${other}, workspace_id, created_by, name, ${publicKey}, mac from seals where id = '${seal.id}'`;
    // The newest key is the one that pays; with it forged, the standard one below it does.
    for (const [what, statement] of [
      ['its public key', `update seals set public_key = ${publicKey}`],
      ['its maker', `update seals set created_by = '${user.id}'`],
      [
        'its derivation',
        `update seals set derivation = '{"type":"argon2id","salt":"AAAAAAAAAAAAAAAAAAAAAA","memoryKiB":65536,"passes":3,"parallelism":1}'`,
      ],
      ['its MAC', `update seals set mac = sha256('x')`],
      [
        'a seal of one’s own',
        `${insert}; update provider_keys set seal_id = ${other} where seal_id is not null`,
      ],
      ['sealed made standard', `update provider_keys set protection = 'standard' where seal_id is not null`],
      [
        'sealed made standard, without its seal',
        `update provider_keys set protection = 'standard', seal_id = null where seal_id is not null`,
      ],
    ] as const) {
      for (const credential of [mine, stolen, gateway.token]) {
        const from = gateway.logLines.length;
        await sql(copies, statement);
        t.equal(await call('/openai/v1/x', credential), '200', what);
        t.equal(
          upstream.requests.at(-1)?.headers.authorization,
          `Bearer ${valueOf('standard')}`,
          `${what}: the key that is not forged pays`,
        );
        wasAlarmed(t, from, what);
        await restore();
      }
    }
    await sql(copies, `update seals set public_key = ${publicKey}`);
    const sealing = await gateway.api('POST', '/api-keys', {
      name: 'k',
      provider: 'openai',
      value: valueOf('late'),
      protection: 'sealed',
      sealId: seal.id,
    });
    t.equal(sealing.body.code, 'KEY_INVALID', 'nothing is sealed to whoever exchanged the public key');
    const tested = await gateway.api('POST', '/api-keys/test', { keyId: standard });
    t.match(tested.body, { ok: true }, 'other keys are not touched by it');
    await restore();
    t.equal(await call('/openai/v1/x', mine), '200');
    t.equal(upstream.requests.at(-1)?.headers.authorization, `Bearer ${valueOf('sealed')}`);
  },
);

t.test('a token’s row that was inserted or widened is no token', async (t) => {
  const { body: minted } = await gateway.api('POST', '/tokens', {
    name: 'x',
    userId: user.id,
    providers: ['groq'],
  });
  for (const edit of [
    'providers = null',
    `user_id = (select user_id from tokens where workspace_id = '${gateway.workspaceId}' and user_id <> '${user.id}' limit 1)`,
    'requests_per_minute = 1000000',
    `expires_at = now() + interval '1 year'`,
    `(workspace_id, user_id) = (select workspace_id, user_id from tokens where workspace_id <> '${gateway.workspaceId}' limit 1)`,
    `verifier = (select verifier from tokens where user_id <> '${user.id}' limit 1)`,
    `kind = 'admin'`,
  ]) {
    await sql(copies, `update tokens set ${edit} where id = '${minted.id}'`);
    t.equal(await call('/openai/v1/x', minted.token), 'AUTH_INVALID', edit);
    await sql(copies, `delete from tokens where id = '${minted.id}'`);
    const again = await gateway.api('POST', '/tokens', { name: 'x', userId: user.id, providers: ['groq'] });
    Object.assign(minted, again.body);
  }
  const forged = mintToken('spt');
  gateway.watch(forged.text);
  await sql(
    copies,
    `insert into tokens select (jsonb_populate_record(x, jsonb_build_object('id', 'tok_' || repeat('0', 32), 'prefix', '${forged.prefix}'))).* from tokens x where id = '${minted.id}'`,
  );
  t.equal(await call('/openai/v1/x', forged.text), 'AUTH_INVALID', 'a row that was inserted');
  t.equal(await call('/openai/v1/x', minted.token), 'FORBIDDEN');
  t.equal(evil.requests.length, 0);
});
