import t from 'tap';
import {
  afterSilence,
  manyRefusals,
  newNetworks,
  type Subject,
  unusualRate,
} from '../../src/admin/alert-rules.ts';
import { isOurAlert } from '../../src/admin/alert-wording.ts';
import { createAlertWatch, type RaisedAlert } from '../../src/admin/alert-watch.ts';
import { newId } from '../../src/ids.ts';
import { newKey, startWorld } from './world.ts';

const key: Subject = { id: 'key_1', kind: 'key', workspaceId: 'ws_1', userId: 'usr_1' };
const token: Subject = { ...key, id: 'tok_1', kind: 'token' };
const at = new Date('2026-05-04T10:00:00.000Z');

t.test('a rate is unusual from ten times the usual on, and not below a hundred calls', async (t) => {
  const hour = (calls: number, callsBefore: number, hoursWithCalls: number) =>
    unusualRate({ subject: key, hour: at, calls, callsBefore, hoursWithCalls });
  t.equal(hour(10, 1, 1), null, '1 → 10');
  t.equal(hour(99, 60, 60), null);
  t.equal(hour(399, 400, 10), null);
  t.equal(hour(5000, 3, 3), null, 'a key of yesterday');
  t.match(hour(400, 400, 10), {
    rule: 'rate',
    numbers: { calls: 400, usualCalls: 40, hoursWithCalls: 10 },
    explanation:
      'Key key_1 made 400 calls in the hour from 2026-05-04T10:00:00.000Z: usual are 40 an hour, the mean of the 10 hours with calls in the 14 days before.',
  });
});

t.test(
  'a network is new to whoever has others, and told once where one person would hear it twice',
  async (t) => {
    const use = (subject: Subject, network: string) => ({ subject, network, firstAt: at, count: 2 });
    t.same(newNetworks([use(key, 'a'), use(token, 'a')], new Map()), [], 'the first network of a new key');
    const known = new Map([key, token].map(({ id }) => [id, new Set(['a'])]));
    t.same(newNetworks([use(key, 'a')], known), []);
    const both = newNetworks([use(key, 'b'), use(token, 'b')], known);
    t.same(
      both.map(({ subject }) => subject.id),
      ['tok_1'],
    );
    t.match(both[0]?.explanation, /not been used from before: 2 times, .* One network was known\.$/);
    const anothers = { ...token, userId: 'usr_2' };
    t.equal(newNetworks([use(key, 'b'), use(anothers, 'b')], known).length, 2, 'two people, two alerts');
    t.equal(newNetworks([use(key, 'b')], known).length, 1, 'a key used with a token of yesterday');
  },
);

t.test('silence counts from the last use or the making; refusals from fifty on', async (t) => {
  const since = (days: number) => new Date(at.getTime() - days * 24 * 3_600_000);
  t.equal(afterSilence({ subject: key, at, since: since(29), wasUsed: true }), null);
  t.match(afterSilence({ subject: key, at, since: since(43), wasUsed: true }), {
    explanation: /first time in 43 days; before that it was used at 2026-03-22/,
  });
  t.match(afterSilence({ subject: key, at, since: since(31), wasUsed: false }), {
    explanation: /after it was made/,
  });
  const refused = (count: number) =>
    manyRefusals({
      subject: token,
      hour: at,
      byCode: { KEY_MISSING: 9, RATE_LIMITED: count },
      summarized: 7,
    });
  t.equal(refused(40), null);
  t.match(refused(41), {
    explanation: /^50 calls with Token tok_1 .*: 41 RATE_LIMITED, 9 KEY_MISSING\. 7 more of/,
  });
});

t.test(
  'alerts are raised from the journal once a day, and seen and acknowledged by whom they concern',
  async (t) => {
    const world = await startWorld(t);
    const { call } = world;
    const owner = world.first.adminToken;
    const me = await world.callerOf(owner);
    const [alice, bob, auditor] = [
      await world.newUser(owner, 'member', 'alice'),
      await world.newUser(owner, 'member', 'bob'),
      await world.newUser(owner, 'auditor'),
    ];
    const { json: stored } = await call(alice.token, 'POST', '/api/api-keys', {
      name: 'label\u00a0of a customer',
      provider: 'openai',
      value: newKey(),
    });
    const { json: minted } = await call(alice.token, 'POST', '/api/tokens', { name: 'app' });
    const raised: RaisedAlert[] = [];
    const { store, journal, clock, time } = world;
    const watch = createAlertWatch({ store, journal, clock, onRaised: (alert) => raised.push(alert) });
    const [net1, net2] = ['1'.repeat(32), '2'.repeat(32)];
    const begin = (network: string, more = {}) =>
      journal.append('use.begin', {
        callId: newId('call'),
        attempt: 1,
        workspaceId: me.workspaceId,
        tokenId: minted.id,
        userId: alice.id,
        keyId: stored.id,
        network,
        // A client's own words, in the place of a member.
        model: `","network":"${'f'.repeat(32)}"`,
        ...more,
      });
    const look = async (): Promise<string[]> => {
      await world.shipper.flush();
      const before = raised.length;
      await Promise.all([watch.look(), watch.look()]);
      await watch.look();
      return raised.slice(before).map(({ rule, keyId, tokenId }) => `${rule} ${keyId ?? tokenId}`);
    };

    await begin(net1);
    t.same(await look(), [], 'a new key, a new token, their first network');
    await begin(net1);
    await begin(net2);
    await begin(net2);
    t.same(await look(), [`new-network ${minted.id}`], 'one, to the one person whom both belong to');
    await begin('3'.repeat(32));
    t.same(await look(), [], 'no second one that day');
    const listed = await call(alice.token, 'GET', '/api/alerts');
    t.match(listed.json.data, [
      { rule: 'new-network', count: 2, tokenId: minted.id, userId: alice.id, keyId: null },
    ]);
    t.same(listed.json.data[0].numbers.network, '3'.repeat(32), 'what is in a client’s words is no member');
    const [{ id }] = listed.json.data;

    for (const [who, count] of [
      [bob.token, 0],
      [auditor.token, 1],
      [owner, 1],
    ] as const)
      t.equal((await call(who, 'GET', '/api/alerts?rule=new-network')).json.data.length, count);
    t.equal((await call(bob.token, 'POST', `/api/alerts/${id}/acknowledge`, {})).status, 404);
    t.equal((await call(auditor.token, 'POST', `/api/alerts/${id}/acknowledge`, {})).status, 403);
    const acknowledged = await call(alice.token, 'POST', `/api/alerts/${id}/acknowledge`, {});
    t.match(acknowledged, { status: 200, json: { acknowledgedBy: alice.id } });
    const again = await call(owner, 'POST', `/api/alerts/${id}/acknowledge`, {});
    t.same(again.json, acknowledged.json, 'a replay changes nothing');
    t.same((await call(owner, 'GET', '/api/alerts?acknowledged=false')).json.data, []);
    const other = await world.newWorkspace('other');
    t.same((await call(other.adminToken, 'GET', '/api/alerts')).json.data, []);
    t.equal((await call(other.adminToken, 'POST', `/api/alerts/${id}/acknowledge`, {})).status, 404);
    const { json: hook } = await call(owner, 'POST', '/api/webhooks', { url: 'https://hooks.example.com/' });
    t.same((await call(other.adminToken, 'GET', '/api/webhooks')).json.data, []);
    t.equal((await call(other.adminToken, 'POST', `/api/webhooks/${hook.id}/test`, {})).status, 404);
    t.equal((await call(other.adminToken, 'DELETE', `/api/webhooks/${hook.id}`)).status, 404);

    time.now += 40 * 24 * 3_600_000;
    await begin(net1);
    t.same((await look()).toSorted(), [`silence ${minted.id}`, `silence ${stored.id}`].toSorted());
    for (let i = 0; i < 30; i += 1)
      await journal.append('use.deny', {
        workspaceId: me.workspaceId,
        tokenId: minted.id,
        userId: alice.id,
        keyId: null,
        code: i < 20 ? 'RATE_LIMITED' : 'KEY_MISSING',
        clientIpHash: null,
      });
    t.same(await look(), []);
    for (let i = 0; i < 25; i += 1)
      await journal.append('use.deny', {
        workspaceId: me.workspaceId,
        tokenId: minted.id,
        code: 'RATE_LIMITED',
      });
    await journal.append('use.deny', {
      workspaceId: me.workspaceId,
      code: 'RATE_LIMITED',
      summarized: 80,
      windowMs: 1,
    });
    t.same(await look(), [`refusals ${minted.id}`]);
    const { json: refusals } = await call(alice.token, 'GET', '/api/alerts?rule=refusals');
    t.same(refusals.data[0].numbers, { refusals: 55, summarized: 80 });

    const now = new Date(clock());
    const hour = (ago: number, calls: number) => ({
      workspace_id: me.workspaceId,
      hour: new Date(Math.floor(now.getTime() / 3_600_000 - ago) * 3_600_000),
      token_id: '',
      user_id: alice.id,
      key_id: stored.id as string,
      provider: 'openai',
      model: '',
      calls: BigInt(calls),
      ...Object.fromEntries(
        'attempts failed input_tokens cached_input_tokens cache_write_input_tokens output_tokens reasoning_tokens unknown_usage_calls cost_nano_usd unknown_cost_calls'
          .split(' ')
          .map((name) => [name, 0n]),
      ),
    });
    const rows = [hour(0, 300), ...Array.from({ length: 10 }, (_, i) => hour(24 + i, 20))];
    await store.asSystem((tx) =>
      tx
        .insertInto('usage_hourly')
        .values(rows as never)
        .execute(),
    );
    t.same(await look(), [`rate ${stored.id}`]);
    t.same(await look(), [], 'once a day');
    const all = await store.asSystem((tx) => tx.selectFrom('alerts').selectAll().execute());
    t.same(new Set(all.map(({ rule }) => rule)), new Set(['new-network', 'silence', 'refusals', 'rate']));
    t.ok(all.every(isOurAlert), 'what is raised is what is sent');
    time.now += 200 * 24 * 3_600_000;
    await watch.forget();
    t.same(await store.asSystem((tx) => tx.selectFrom('seen_uses').selectAll().execute()), []);
    await world.shipper.flush();
    const lines = world
      .journalText()
      .split('\n')
      .filter((line) => line.includes('"event":"alert.'));
    t.equal(lines.filter((line) => line.includes('"event":"alert.raised"')).length, raised.length);
    t.equal(lines.filter((line) => line.includes('"alert.acknowledge.done"')).length, 1);
    t.notMatch(lines.join('\n'), /customer|alice/, 'ids only');
  },
);

t.test('streams that are written without pause keep none of the others from being looked at', async (t) => {
  const { database, journal, clock, store } = await startWorld(t);
  await database.owner(`
    insert into journal_streams (stream, next_seq, head_hash, closed)
      select 'str_' || n, 5, decode(repeat('00', 32), 'hex'), false from generate_series(1, 7) n;
    create function go_on() returns trigger language plpgsql security definer as $$ begin
      update journal_streams set next_seq = next_seq + 1 where stream = new.stream; return new; end $$;
    create trigger busy after insert or update on alert_progress for each row execute function go_on()`);
  await createAlertWatch({ store, journal, clock, onRaised: () => {} }).look();
  const seen = await store.asSystem((tx) =>
    tx.selectFrom('alert_progress').select('stream').where('stream', 'like', 'str_%').execute(),
  );
  t.equal(seen.length, 7);
});
