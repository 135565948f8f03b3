import { mkdtempSync, rmSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { sql } from 'kysely';
import t from 'tap';
import { newId } from '../../src/ids.ts';
import { openJournal } from '../../src/journal/journal.ts';
import { createShipper } from '../../src/journal/shipper.ts';
import { newKey, startWorld } from './world.ts';

const world = await startWorld(t);
const { call } = world;
const owner = world.first.adminToken;
const me = await world.callerOf(owner);
const [ann, bob] = [await world.newUser(owner, 'member', 'ann'), await world.newUser(owner, 'member', 'bob')];
const other = await world.newWorkspace('other');
const stranger = await world.callerOf(other.adminToken);
await world.app.listen({ host: '127.0.0.1', port: 0 });
const { port } = world.app.server.address() as AddressInfo;

/** A second node, which ships by itself and later. */
const dir = mkdtempSync(path.join(tmpdir(), 'sallyport-tail-'));
const second = await openJournal({
  dir,
  nodeId: 'n2',
  bootId: 'b',
  sync: 'relaxed',
  maxBytes: 1 << 30,
  clock: world.clock,
});
const secondShipper = createShipper({ store: world.store, journal: second, clock: world.clock });
t.teardown(async () => {
  await secondShipper.stop();
  await second.close();
  rmSync(dir, { recursive: true });
});

interface Message {
  readonly id: string | null;
  readonly event: string | null;
  // Read as a client would.
  readonly data: any;
}

interface Client {
  readonly status: number;
  /** The next message that holds something; a comment's has no event. */
  next(): Promise<Message>;
  lastId(): string | null;
  leave(): void;
}

async function tail(token: string, query = '', lastEventId: string | null = null): Promise<Client> {
  const headers = {
    authorization: `Bearer ${token}`,
    ...(lastEventId === null ? {} : { 'last-event-id': lastEventId }),
  };
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    get({ port, path: `/api/audit/tail${query}`, headers, agent: false }, resolve).once('error', reject);
  });
  answer.on('error', () => {});
  let lastId: string | null = null;
  async function* messages(): AsyncGenerator<Message> {
    let text = '';
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      text += chunk.toString('utf8');
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const lines = text.slice(0, end).split('\n');
        text = text.slice(end + 2);
        const field = (name: string): string | null =>
          lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2) ?? null;
        lastId = field('id') ?? lastId;
        const data = field('data');
        if (lines[0]?.startsWith('retry') !== true)
          yield { id: field('id'), event: field('event'), data: data === null ? null : JSON.parse(data) };
      }
    }
  }
  const reader = messages();
  return {
    status: answer.statusCode ?? 0,
    async next() {
      const { value, done } = await reader.next();
      if (done === true) throw new Error('the tail has ended');
      return value;
    },
    lastId: () => lastId,
    leave: () => answer.destroy(),
  };
}

/** In, and told of what comes from now on. */
async function joined(token: string, query = ''): Promise<Client> {
  const client = await tail(token, query);
  t.equal(client.status, 200);
  t.match(await client.next(), { event: null, id: /^[0-9a-z]+/ });
  return client;
}

let made = 0;
async function record(fields: Record<string, string | null>, node = world.journal): Promise<string> {
  const { hash } = await node.append('x.test', {
    workspaceId: me.workspaceId,
    userId: null,
    number: (made += 1),
    ...fields,
  });
  return hash;
}

t.test('a tail tells each record once, whoever ships it when, and goes on after a break', async (t) => {
  const told: string[] = [];
  const wanted: string[] = [];
  let client = await joined(owner, '?event=x.*');
  for (let round = 0; round < 6; round += 1) {
    for (let i = 0; i < 7; i += 1) {
      wanted.push(await record({}, (i + round) % 2 === 0 ? world.journal : second));
      await record({ workspaceId: stranger.workspaceId });
    }
    // The second node's records come in later than those of the first, with earlier times.
    await world.shipper.flush();
    if (round % 2 === 1) await secondShipper.flush();
    if (round < 5) {
      const message = await client.next();
      t.equal(message.event, 'record');
      told.push(message.data.hash);
      client.leave();
      client = await tail(owner, '?event=x.*', client.lastId());
    }
  }
  while (told.length < wanted.length) {
    const message = await client.next();
    if (message.event === 'record') told.push(message.data.hash);
  }
  t.same(told.toSorted(), wanted.toSorted(), 'no gap, no duplicate');
  const [entry] = (await call(owner, 'GET', '/api/audit?event=x.test&limit=1')).json.data;
  t.ok(told.includes(entry.hash));
  client.leave();
});

t.test('a member is told of what is his, another workspace of nothing', async (t) => {
  const key = (
    await call(ann.token, 'POST', '/api/api-keys', {
      name: 'k',
      provider: 'openai',
      value: newKey(),
      sharedWith: [bob.id],
    })
  ).json.id;
  await world.shipper.flush();
  world.time.now += 10_000;
  const all = await joined(owner);
  const [hers, his] = [await joined(ann.token), await joined(bob.token)];
  const [theirs, ofKey] = [await joined(other.adminToken), await joined(bob.token, `?keyId=${key}`)];
  await record({ userId: me.userId });
  await record({ userId: bob.id, keyId: key });
  await record({ userId: ann.id });
  await call(ann.token, 'PATCH', `/api/api-keys/${key}`, { name: 'renamed' });
  await record({ workspaceId: stranger.workspaceId, userId: stranger.userId });
  await world.shipper.flush();
  const numbers = async (client: Client, count: number): Promise<string[]> => {
    const seen: string[] = [];
    while (seen.length < count) {
      const { event, data } = await client.next();
      if (event === 'record') seen.push(data.event === 'x.test' ? data.record.userId : data.event);
    }
    return seen;
  };
  const acts = ['key.update.intent', 'key.update.done'];
  t.same(await numbers(all, 5), [me.userId, bob.id, ann.id, ...acts]);
  t.same(await numbers(hers, 4), [bob.id, ann.id, ...acts], 'what others did with her key, and her own');
  t.same(await numbers(his, 1), [bob.id]);
  t.same(await numbers(theirs, 1), [stranger.userId]);
  t.same(await numbers(ofKey, 1), [bob.id], 'of another’s key his own uses');
  for (const client of [all, hers, his, theirs, ofKey]) client.leave();
});

t.test('who is revoked, or becomes another, is told so and no more', async (t) => {
  const [gone, moved] = [await world.newUser(owner, 'member'), await world.newUser(owner, 'admin')];
  for (const [user, act] of [
    [gone, () => call(owner, 'DELETE', `/api/tokens/${gone.tokenId}`)],
    [moved, () => call(owner, 'PATCH', `/api/members/${moved.id}`, { role: 'viewer' })],
  ] as const) {
    const client = await joined(user.token);
    await act();
    world.time.now += 10_000;
    await record({ userId: user.id });
    await world.shipper.flush();
    const message = await client.next();
    t.match(message, { event: 'end', data: { code: 'AUTH_INVALID' } });
    await t.rejects(client.next(), /ended/);
  }
});

t.test('a clock that is set back shows nobody more than he may see', async (t) => {
  const gone = await world.newUser(owner, 'member');
  const client = await joined(gone.token);
  await call(owner, 'DELETE', `/api/tokens/${gone.tokenId}`);
  world.time.now -= 3_600_000;
  t.teardown(() => {
    world.time.now += 3_600_000;
  });
  await record({ userId: gone.id });
  await world.shipper.flush();
  t.match(await client.next(), { event: 'end', data: { code: 'AUTH_INVALID' } });
});

t.test('a quiet tail is kept alive, and few are open at once', async (t) => {
  const clients = await Promise.all([1, 2, 3, 4].map(() => joined(ann.token)));
  t.equal((await tail(ann.token)).status, 429);
  const before = clients[0]?.lastId();
  world.time.now += 60_000;
  t.match(await clients[0]?.next(), { event: null, data: null });
  t.not(clients[0]?.lastId(), before, 'with a newer place');
  const more = await Promise.all(['dan', 'eve'].map((name) => world.newUser(owner, 'member', name)));
  for (const token of [owner, bob.token, more[0]?.token ?? ''])
    clients.push(...(await Promise.all([1, 2, 3, 4].map(() => joined(token)))));
  t.equal((await tail(more[1]?.token ?? '')).status, 429, 'nor more than 16 a workspace');
  clients.push(await joined(other.adminToken));
  for (const client of clients) client.leave();
  while (world.services.tails.count() > 0) await new Promise(setImmediate);
  for (const id of [
    '!',
    'zz;n1:b1=-1',
    `${'9'.repeat(10)};n1:b1`,
    `1${';n:b=1'.repeat(3000)}`,
    '1;n1:b1=1e9',
  ])
    t.equal((await tail(bob.token, '', id)).status >= 400, true, id.slice(0, 40));
  t.equal((await tail(bob.token, '?event=k*y')).status, 400);
});

t.test('who asks for a tail’s headers alone keeps no place', async (t) => {
  const before = world.services.tails.count();
  for (let i = 0; i < 5; i += 1) {
    const answer = await fetch(`http://127.0.0.1:${port}/api/audit/tail`, {
      method: 'HEAD',
      headers: { authorization: `Bearer ${owner}` },
    });
    t.equal(answer.status, 404);
  }
  t.equal(world.services.tails.count(), before);
});

t.test('a place that somebody made up shows nobody more, and one too far back is called a gap', async (t) => {
  const place = `zz;n1:${newId('node').slice(5, 20)}=5;${world.journal.stream}=0`;
  const client = await tail(bob.token, '', place);
  for (let i = 0; i < 3; i += 1) {
    const { data, event } = await client.next();
    if (event === 'record') t.equal(data.record.userId, bob.id);
  }
  client.leave();
  await world.store.asSystem((tx) =>
    sql`insert into journal_streams (stream, next_seq, head_hash, closed) values ('far:1', 200000, ${Buffer.alloc(32)}, false)`.execute(
      tx,
    ),
  );
  const far = await tail(bob.token, '', 'zz;far:1=0');
  t.match(await far.next(), { event: 'gap', data: { from: /^\d{4}-/ } });
  far.leave();
});

t.test('who does not read is cut off before he costs memory', async (t) => {
  const slow = await joined(owner, '?event=x.*');
  const quick = await joined(bob.token);
  const rows = 20_000;
  await world.store.asSystem(async (tx) => {
    await sql`insert into journal (month, stream, seq, workspace_id, at, event, hash, line)
      select '2026-01-01', 'bulk:1', i, ${me.workspaceId}, now(), 'x.bulk', '\\x00',
        json_build_object('filling', repeat('x', 1000)) from generate_series(0, ${rows - 1}::int) as i`.execute(
      tx,
    );
    await sql`insert into journal_streams (stream, next_seq, head_hash, closed, updated_at)
      values ('bulk:1', ${rows}, ${Buffer.alloc(32)}, true, ${new Date(world.time.now)})`.execute(tx);
  });
  await record({ userId: bob.id });
  await world.shipper.flush();
  let message = await quick.next();
  while (message.event !== 'record') message = await quick.next();
  t.equal(message.data.record.userId, bob.id, 'the others are told');
  while (world.services.tails.count() > 1) await new Promise(setImmediate);
  await t.rejects(async () => {
    for (;;) await slow.next();
  });
  quick.leave();
});

t.test('who stops reading what he missed keeps no place when he is revoked', async (t) => {
  const auditor = await world.newUser(owner, 'auditor', 'fay');
  const before = world.services.tails.count();
  // Of streams that it does not name nothing came since.
  const place = `${(world.time.now + 3_600_000).toString(36)};bulk:1=0`;
  const stalled = await tail(auditor.token, '', place);
  for (let i = 0; i < 60; i += 1) (await joined(bob.token)).leave();
  await call(owner, 'DELETE', `/api/tokens/${auditor.tokenId}`);
  world.time.now += 60_000;
  while (world.services.tails.count() > before) await new Promise(setImmediate);
  await t.rejects(async () => {
    for (;;) await stalled.next();
  });
});

t.test('at the end all are told to come again', async (t) => {
  const client = await joined(ann.token);
  world.services.tails.close();
  t.match(await client.next(), { event: 'end', data: { code: 'SHUTTING_DOWN' } });
  await t.rejects(client.next(), /ended/);
  t.equal((await tail(ann.token)).status, 503);
  t.same(world.faults, []);
});
