import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import type { TestDatabase } from '../support/database.ts';
import { testDatabase } from '../support/database.ts';
import { createBatch } from '../../src/journal/batch.ts';
import { createChain } from '../../src/journal/chain.ts';
import { draft } from '../../src/journal/draft.ts';
import type { Journal } from '../../src/journal/journal.ts';
import { createShipper } from '../../src/journal/shipper.ts';
import { type Verdict, verifyJournal } from '../../src/journal/verify.ts';
import {
  begin,
  folder,
  linesOf,
  newCall,
  openTestJournal,
  relay,
  segmentsOf,
  workspaceId,
} from './fixture.ts';

interface Teardown {
  teardown(work: () => Promise<unknown>): void;
}

const kinds = ({ problems }: Verdict): string[] => problems.map(({ kind, seq }) => `${kind} ${seq}`);

/** Eleven records in a closed stream, and a second stream that names its head. */
async function written(
  t: Teardown,
): Promise<{ dir: string; stream: string; path: string; lines: string[]; journal: Journal }> {
  const dir = await folder(t);
  const first = await openTestJournal(t, dir);
  for (let i = 0; i < 5; i += 1) await relay(first);
  await first.close();
  const [path] = (await segmentsOf(dir)) as [string];
  const lines = (await readFile(path, 'utf8')).split('\n');
  return { dir, stream: first.stream, path, lines, journal: await openTestJournal(t, dir) };
}

const tampers: Readonly<Record<string, [change: (lines: string[]) => void, expected: string[]]>> = {
  'one byte changed': [
    (lines) => lines.splice(4, 1, (lines[4] as string).replace('"status":200', '"status":201')),
    ['hash 4'],
  ],
  'one byte of a hash changed': [
    (lines) =>
      lines.splice(
        4,
        1,
        (lines[4] as string).replace(/"hash":"(.)/, (_, c) => `"hash":"${c === '0' ? '1' : '0'}`),
      ),
    ['hash 4'],
  ],
  'a line made nonsense': [(lines) => lines.splice(4, 1, 'x'), ['hash 4']],
  'one line deleted': [(lines) => lines.splice(4, 1), ['gap 4']],
  'two lines swapped': [
    (lines) => lines.splice(4, 2, lines[5] as string, lines[4] as string),
    ['gap 4', 'duplicate 4'],
  ],
  'one line twice': [(lines) => lines.splice(4, 0, lines[4] as string), ['duplicate 4']],
  'the tail cut': [(lines) => lines.splice(9, 3), ['missing 9']],
  'the tail cut in mid-line': [
    (lines) => lines.splice(10, 3, (lines[10] as string).slice(0, 40)),
    ['torn 10', 'missing 10'],
  ],
};

for (const [what, [change, expected]] of Object.entries(tampers)) {
  t.test(`${what}: found and named`, async (t) => {
    const { dir, lines, path, stream } = await written(t);
    t.match(await verifyJournal({ dir, store: null }), {
      ok: true,
      streams: 2,
      records: 13,
      openCalls: 0,
      problems: [],
    });
    change(lines);
    await writeFile(path, lines.join('\n'));
    const verdict = await verifyJournal({ dir, store: null });
    t.notOk(verdict.ok);
    t.same(kinds(verdict), expected);
    t.ok(verdict.problems.every((problem) => problem.stream === stream));
  });
}

t.test('a chain forged anew from some record on is betrayed by the next stream', async (t) => {
  const { dir, path, stream } = await written(t);
  const other = await written(t);
  // As long and as valid, under the same name: another history.
  const chain = createChain(stream);
  const batch = createBatch();
  for (const line of other.lines.slice(0, -1)) {
    const { at, event, hash: _, seq: __, stream: ___, v: ____, ...fields } = JSON.parse(line);
    chain.link(draft(event, fields, at), batch);
  }
  await writeFile(path, batch.bytes());
  t.match((await verifyJournal({ dir, store: null })).problems, [{ kind: 'link', seq: 0 }]);
});

async function shipped(t: Teardown): Promise<{
  dir: string;
  database: TestDatabase;
  stream: string;
  journal: Journal;
  verify: () => Promise<Verdict>;
}> {
  const database = await testDatabase(t);
  const { dir, journal, stream } = await written(t);
  const shipper = createShipper({ store: database.store, journal, clock: Date.now });
  await shipper.flush();
  await shipper.stop();
  return { dir, database, stream, journal, verify: () => verifyJournal({ dir, store: database.store }) };
}

/** Somebody with the database in his hands: triggers and row security off. */
async function tamper({ owner }: TestDatabase, sql: string): Promise<void> {
  const tables = [
    'journal',
    'journal_default',
    'usage_events',
    'usage_events_default',
    'usage_hourly',
    'acts',
  ];
  const partitions = await owner<{ name: string }>(
    `select relname as name from pg_class where relname ~ '^(journal|usage_events)_\\d{4}_\\d{2}$'`,
  );
  const all = [...tables, ...partitions.map(({ name }) => name)];
  const off = all.map(
    (table) => `alter table ${table} disable trigger user; alter table ${table} no force row level security;`,
  );
  await owner(`${off.join('')} ${sql}`);
}

t.test('files and table agree, and open calls of the running stream are no fault', async (t) => {
  const { journal, verify } = await shipped(t);
  await journal.append('use.begin', begin(newCall()));
  t.match(await verify(), { ok: true, streams: 2, records: 14, openCalls: 1, problems: [] });
});

t.test('a presumption without its begin, or of the node’s own call, is found', async (t) => {
  const { dir, journal, stream, verify } = await shipped(t);
  const [first] = (await linesOf(dir)).map((line) => JSON.parse(line)).filter(isBegin);
  const own = { callId: first.callId, beginStream: stream, beginSeq: first.seq };
  await journal.append('use.presumed', own);
  await journal.append('use.presumed', { ...own, callId: 'call_x', beginStream: 'node_z:boot' });
  t.match((await verify()).problems, [
    { stream: journal.stream, seq: 1, kind: 'mismatch', message: /by the node that presumes/ },
    { stream: journal.stream, seq: 2, kind: 'missing', message: /call_x has no begin/ },
  ]);
  const other = await openTestJournal(t, dir, { nodeId: 'node_b' });
  await other.append('use.presumed', own);
  t.equal((await verify()).problems.length, 2, 'one of another node’s call is as it should be');
});

const isBegin = ({ event }: { readonly event: string }): boolean => event === 'use.begin';

t.test('whoever changes the table is found, and the record named', async (t) => {
  const all = await Promise.all(Array.from({ length: 4 }, () => shipped(t)));
  const at = (i: number): (typeof all)[0] => all[i] as (typeof all)[0];
  await tamper(
    at(0).database,
    `update journal set line = replace(line, '"status":200', '"status":201') where stream = '${at(0).stream}' and seq = 4`,
  );
  t.same(kinds(await at(0).verify()), ['mismatch 4', 'hash 4', 'usage 4']);
  await tamper(at(1).database, `delete from journal where stream = '${at(1).stream}' and seq = 4`);
  t.same(
    kinds(await at(1).verify()).filter((kind) => !kind.startsWith('usage')),
    ['gap 4'],
  );
  await tamper(at(2).database, `delete from journal where stream = '${at(2).stream}' and seq > 8`);
  t.same(
    kinds(await at(2).verify()).filter((kind) => !kind.startsWith('usage')),
    ['missing 9'],
  );
  await tamper(
    at(3).database,
    `update usage_events set output_tokens = 2 where call_id = (select call_id from journal where stream = '${at(3).stream}' and seq = 4)`,
  );
  t.match((await at(3).verify()).problems, [
    { stream: at(3).stream, seq: 4, kind: 'usage', message: /output_tokens/ },
    { stream: 'usage_hourly', kind: 'usage' },
  ]);
});

t.test('usage that no record stands behind, sums and acts are checked', async (t) => {
  const { database, journal, verify } = await shipped(t);
  const actor = { type: 'cli', id: 'x' };
  const intent = await journal.append('key.create.intent', { actId: 'act_1', workspaceId, actor });
  await journal.append('key.create.done', { actId: 'act_1', workspaceId });
  await journal.append('key.create.intent', { actId: 'act_2', workspaceId, actor: { type: 'cli', id: 'x' } });
  await journal.append('key.create.failed', { actId: 'act_2', workspaceId });
  await database.store.asWorkspace(workspaceId, (tx) =>
    tx
      .insertInto('acts')
      .values({ act_id: 'act_1', workspace_id: workspaceId, digest: Buffer.from(intent.hash, 'hex') })
      .execute(),
  );
  const shipper = createShipper({ store: database.store, journal, clock: Date.now });
  await shipper.flush();
  await shipper.stop();
  t.match(await verify(), { ok: true });
  await tamper(database, `update acts set digest = sha256(digest)`);
  t.match((await verify()).problems, [{ kind: 'mismatch', seq: intent.seq, message: /another intent/ }]);
  await tamper(database, `update acts set digest = decode('${intent.hash}', 'hex')`);
  await tamper(
    database,
    `insert into acts (act_id, workspace_id, digest) values ('act_2', '${workspaceId}', ''), ('act_3', '${workspaceId}', '');
     delete from acts where act_id = 'act_1';
     update usage_hourly set calls = calls + 1;
     insert into usage_events select (jsonb_populate_record(u, '{"call_id":"call_ghost"}')).* from usage_events u limit 1`,
  );
  const { problems } = await verify();
  t.same(
    problems.map(({ kind, stream }) => `${kind} ${stream === journal.stream ? 'journal' : stream}`),
    ['mismatch journal', 'mismatch journal', 'usage usage_events', 'usage usage_hourly', 'missing acts'],
  );
});

t.test('a folder without journal files is not called well', async (t) => {
  for (const dir of [t.testdir({}), path.join(t.testdir({}), 'nowhere')])
    await t.rejects(verifyJournal({ dir, store: null }), { code: 'NOT_FOUND' });
});
