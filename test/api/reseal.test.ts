import t from 'tap';
import { newId } from '../../src/ids.ts';
import { sealCalls } from './seal-calls.ts';
import { type Answer, newKey, startWorld } from './world.ts';

const world = await startWorld(t);
const { call } = world;
const owner = world.first.adminToken;
const { make, createSeal, storeSealed, reseal, leaked } = sealCalls(world);

t.test('re-sealing takes both secrets, gives each key a new version and shreds the old one', async (t) => {
  const [old, next] = [await createSeal(), await createSeal()];
  const values = [newKey(), newKey()];
  const ids: string[] = [];
  for (const value of values) ids.push((await storeSealed(old.id, value)).json.id);
  const untouched = (await storeSealed((await createSeal()).id, newKey())).json;
  const before = (await call(owner, 'GET', `/api/api-keys/${ids[0]}`)).json;

  const one = await reseal(next.id, old.secret, next.secret, { keyIds: [ids[0]] });
  t.match(one.json, { sealId: next.id, keyIds: [ids[0]], remaining: 0, receipt: /\./ });
  const after = (await call(owner, 'GET', `/api/api-keys/${ids[0]}`)).json;
  t.match(after, { sealId: next.id, version: 2, last4: before.last4, fingerprint: before.fingerprint });
  await t.rejects(world.open(ids[0] as string, old.ikm), { code: 'SEAL_WRONG' });
  t.equal(await world.open(ids[0] as string, next.ikm), values[0]);

  const rest = await reseal(next.id, old.secret, next.secret);
  t.same(rest.json.keyIds, [ids[1]], 'left out: all that the old seal has');
  t.equal(await world.open(ids[1] as string, next.ikm), values[1]);
  const versions = await world.store.asSystem((tx) =>
    tx.selectFrom('provider_key_versions').select(['key_id', 'version']).where('key_id', 'in', ids).execute(),
  );
  t.same(
    versions.map(({ version }) => version),
    [2, 2],
    'the old versions are gone',
  );
  t.same((await reseal(next.id, old.secret, next.secret)).json, {
    sealId: next.id,
    keyIds: [],
    remaining: 0,
    receipt: null,
  });
  t.equal((await call(owner, 'GET', `/api/api-keys/${untouched.id}`)).json.version, 1);
  t.equal((await call(owner, 'DELETE', `/api/seals/${old.id}`)).status, 200);
  await world.shipper.flush();
  const records = (await call(owner, 'GET', `/api/audit?event=key.resealed&keyId=${ids[0]}`)).json.data;
  t.equal(records.length, 1, 'its owner finds it under the key');
  t.match(records[0].record, { sealId: next.id, version: 2 });
});

t.test('with a wrong secret, or a key that is not the old seal’s, nothing is re-sealed', async (t) => {
  const [old, next, third] = [await createSeal(), await createSeal(), await createSeal()];
  const key = (await storeSealed(old.id, newKey())).json.id;
  const otherKey = (await storeSealed(third.id, newKey())).json.id;
  const done = (await storeSealed(next.id, newKey())).json.id;
  const plain = (
    await call(owner, 'POST', '/api/api-keys', { name: 'p', provider: 'openai', value: newKey() })
  ).json.id;
  const stranger = make();
  const rows = () =>
    world.store.asSystem((tx) =>
      tx.selectFrom('provider_keys').select(['id', 'mac']).orderBy('id').execute(),
    );
  const before = await rows();
  const cases: [string, Answer, string][] = [
    ['a stranger’s old secret', await reseal(next.id, stranger.secret, next.secret), 'SEAL_WRONG'],
    [
      'the old one for another’s key',
      await reseal(next.id, third.secret, next.secret, { keyIds: [key] }),
      'SEAL_WRONG',
    ],
    ['a wrong new secret', await reseal(next.id, old.secret, old.secret), 'SEAL_WRONG'],
    ['no well-formed one', await reseal(next.id, `${old.secret}x`, next.secret), 'SEAL_WRONG'],
    [
      'one mistyped',
      await reseal(
        next.id,
        old.secret.replace(/.$/, (c) => (c === 'a' ? 'b' : 'a')),
        next.secret,
      ),
      'SEAL_WRONG',
    ],
    ['two in one header', await reseal(next.id, `${old.secret}, ${old.secret}`, next.secret), 'SEAL_WRONG'],
    [
      'a good key and a bad one',
      await reseal(next.id, old.secret, next.secret, { keyIds: [key, otherKey] }),
      'SEAL_WRONG',
    ],
    ['a key of the new seal', await reseal(next.id, old.secret, next.secret, { keyIds: [done] }), 'CONFLICT'],
    [
      'a standard key',
      await reseal(next.id, old.secret, next.secret, { keyIds: [plain] }),
      'REQUEST_INVALID',
    ],
    [
      'an unknown key',
      await reseal(next.id, old.secret, next.secret, { keyIds: [newId('key')] }),
      'NOT_FOUND',
    ],
    ['an unknown seal', await reseal(newId('seal'), old.secret, next.secret), 'NOT_FOUND'],
    ['no key at all', await reseal(next.id, old.secret, next.secret, { keyIds: [] }), 'REQUEST_INVALID'],
    [
      'the new secret alone',
      await call(owner, 'POST', `/api/seals/${next.id}/reseal`, {}, { 'x-sallyport-new-seal': next.secret }),
      'SEAL_REQUIRED',
    ],
    [
      'the old secret alone',
      await call(owner, 'POST', `/api/seals/${next.id}/reseal`, {}, { 'x-sallyport-seal': old.secret }),
      'SEAL_REQUIRED',
    ],
  ];
  for (const [what, answer, code] of cases) t.equal(answer.json.code, code, what);
  t.same(await rows(), before);
  world.secure.isSecure = false;
  t.equal((await reseal(next.id, old.secret, next.secret)).json.code, 'TLS_REQUIRED', 'over plain http');
  world.secure.isSecure = true;
});

t.test('a key that cannot be sealed anew says which it is, so that it can be left out', async (t) => {
  const [old, next] = [await createSeal(), await createSeal()];
  const good = (await storeSealed(old.id, newKey())).json.id;
  // What a client sealed nobody can look into: this is no payload at all.
  const body = { value: undefined, sealedPayload: Buffer.alloc(304, 7).toString('base64') };
  const bad = (await storeSealed(old.id, '', body)).json.id;
  const all = await reseal(next.id, old.secret, next.secret);
  t.match(all.json, { code: 'KEY_INVALID' });
  t.match(all.json.detail, bad);
  t.equal((await call(owner, 'GET', `/api/api-keys/${good}`)).json.sealId, old.id, 'all of it, or nothing');
  t.same((await reseal(next.id, old.secret, next.secret, { keyIds: [good] })).json.keyIds, [good]);
  await world.tamper('provider_keys', `update provider_keys set auth = 'none' where id = '${good}'`);
  const forged = await reseal(old.id, next.secret, old.secret);
  t.match(forged.json, { code: 'KEY_INVALID', detail: /behind the gateway/ });
  t.match(forged.json.detail, good);
});

t.test(
  'a key that is replaced, deleted or shredded while it is sealed anew stays whole, or goes whole',
  async (t) => {
    for (const what of ['value', 'standard', 'delete', 'storeKeys', 'reseal'] as const) {
      for (let round = 0; round < 2; round += 1) {
        const { adminToken } = await world.newWorkspace(`${what} ${round}`);
        const [old, next, third] = [
          await createSeal(adminToken),
          await createSeal(adminToken),
          await createSeal(adminToken),
        ];
        const value = newKey();
        const ids: string[] = [];
        for (let i = 0; i < 3; i += 1) ids.push((await storeSealed(old.id, value, {}, adminToken)).json.id);
        const [, id = ''] = ids;
        const url = `/api/api-keys/${id}`;
        const other = newKey();
        const others = {
          value: () => call(adminToken, 'PATCH', url, { value: other }),
          standard: () => call(adminToken, 'PATCH', url, { protection: 'standard', value: other }),
          delete: () => call(adminToken, 'DELETE', url),
          storeKeys: () =>
            call(adminToken, 'PATCH', '/api/workspaces/current', { storeKeys: false, confirm: 'shred' }),
          reseal: () => reseal(third.id, old.secret, third.secret, {}, adminToken),
        };
        const both = [() => reseal(next.id, old.secret, next.secret, {}, adminToken), others[what]];
        for (const { status, json } of await Promise.all(
          (round === 0 ? both : both.toReversed()).map((act) => act()),
        ))
          t.ok(status < 500, `${what}: ${status} ${json.code}`);
        const rows = await world.store.asSystem((tx) =>
          tx
            .selectFrom('provider_keys as k')
            .leftJoin('provider_key_versions as v', 'v.key_id', 'k.id')
            .select(['k.id', 'k.version', 'k.seal_id', 'v.version as kept'])
            .where('k.id', 'in', ids)
            .execute(),
        );
        if (what === 'storeKeys') t.same(rows, [], 'nothing survives');
        for (const row of rows) {
          t.equal(row.kept, row.version, 'one version, the one that the row names');
          const seal = [old, next, third].find((one) => one.id === row.seal_id);
          t.ok([value, other].includes(await world.open(row.id, seal?.ikm ?? null)), `${what}: it opens`);
        }
      }
    }
    t.same(await leaked(), []);
    t.same(world.faults, []);
  },
);
