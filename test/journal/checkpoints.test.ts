import { hash } from 'node:crypto';
import t, { type Test } from 'tap';
import { createCheckpointKeys } from '../../src/journal/checkpoint-keys.ts';
import { noCheckpoint, readCheckpoint, readIntroduction } from '../../src/journal/checkpoint-note.ts';
import { createCheckpoints, type CheckpointsDeps } from '../../src/journal/checkpoints.ts';
import type { Fault } from '../../src/journal/cursor.ts';
import { isSignedBy, noteHash, parseNote, parseVerifier } from '../../src/journal/note.ts';
import { createShipper } from '../../src/journal/shipper.ts';
import { testVault } from '../vault/test-vault.ts';
import { folder, linesOf, openTestJournal, relay } from './fixture.ts';

async function world(t: Test, options: Partial<CheckpointsDeps> = {}) {
  const { database, restart, time, vault } = await testVault(t);
  const dir = await folder(t);
  const journal = await openTestJournal(t, dir);
  const shipper = createShipper({ store: database.store, journal, clock: Date.now });
  t.teardown(() => shipper.stop());
  const faults: Fault[] = [];
  const clock = (): number => time.now;
  const keys = createCheckpointKeys(vault, clock);
  const deps = { store: database.store, journal, keys, clock, onFault: (fault: Fault) => faults.push(fault) };
  const node = (more: Partial<CheckpointsDeps> = {}) => createCheckpoints({ ...deps, ...options, ...more });
  return {
    database,
    dir,
    journal,
    keys,
    faults,
    node,
    checkpoints: node(),
    restart,
    time,
    records: async (calls: number): Promise<void> => {
      for (let i = 0; i < calls; i += 1) await relay(journal);
      await shipper.flush();
    },
    flush: () => shipper.flush(),
  };
}

const read = (note: string | undefined) => readCheckpoint(parseNote(note ?? '')!)!;

/** RFC 6962, 2.1, in its own words. */
function treeHash(leaves: readonly Buffer[]): string {
  const sha = (...parts: Uint8Array[]): Buffer => hash('sha256', Buffer.concat(parts), 'buffer');
  const tree = (data: readonly Buffer[]): Buffer => {
    if (data.length === 1) return sha(Uint8Array.of(0), data[0] as Buffer);
    let k = 1;
    while (k * 2 < data.length) k *= 2;
    return sha(Uint8Array.of(1), tree(data.slice(0, k)), tree(data.slice(k)));
  };
  return tree(leaves).toString('hex');
}

t.test('checkpoints cover every shipped record once, and each names the one before', async (t) => {
  const { checkpoints, dir, flush, journal, keys, records, time } = await world(t);
  t.same(await checkpoints.write(), [], 'nothing is shipped');
  t.equal(checkpoints.age(), 0);
  await records(3);
  const [introduction, first, ...none] = await checkpoints.write();
  t.same(none, []);
  const verifier = parseVerifier(readIntroduction(parseNote(introduction ?? '')!)?.key ?? '')!;
  t.ok(isSignedBy(parseNote(introduction ?? '')!, verifier));
  t.ok(isSignedBy(parseNote(first ?? '')!, verifier));
  const hashes = async () => (await linesOf(dir)).map((line) => Buffer.from(JSON.parse(line).hash, 'hex'));
  const leaves = (await hashes()).slice(0, 7);
  t.strictSame(read(first), {
    name: keys.name,
    number: 1,
    at: new Date(time.now).toISOString(),
    size: 7,
    root: treeHash(leaves),
    previous: noCheckpoint,
    streams: [{ stream: journal.stream, firstSeq: 0, nextSeq: 7, headHash: leaves.at(-1)?.toString('hex') }],
  });
  const [, ...record] = (await linesOf(dir)).slice(6);
  t.match(JSON.parse(record[0] ?? ''), { event: 'checkpoint.key', introduction, seq: 7 });

  await flush();
  t.same(await checkpoints.write(), [], 'one record, and no minute is over');
  time.now += 59_999;
  t.same(await checkpoints.write(), []);
  t.equal(checkpoints.age(), 59.999);
  time.now += 1;
  const [second] = await checkpoints.write();
  t.match(read(second), {
    number: 2,
    size: 1,
    root: treeHash((await hashes()).slice(7)),
    previous: noteHash(parseNote(first ?? '')!),
  });
  t.equal(checkpoints.age(), 0);
  time.now += 3_600_000;
  t.same(await checkpoints.write(), [], 'never without something new');
  t.equal(checkpoints.age(), 0);
});

t.test('a thousand records do not wait for the minute, and a tree has a bound', async (t) => {
  const { checkpoints, records } = await world(t, { everyRecords: 20, maxRecords: 15 });
  await records(1);
  await checkpoints.write();
  await records(8);
  t.same(await checkpoints.write(), []);
  await records(10);
  const notes = await checkpoints.write();
  t.same(
    notes.map((note) => read(note).size),
    [15, 15],
    'what is left is less than twenty',
  );
  const forced = await checkpoints.write({ isForced: true });
  t.same(
    forced.map((note) => [read(note).number, read(note).size]),
    [[4, 7]],
  );
  t.same(await checkpoints.write({ isForced: true }), []);
});

t.test('of two nodes that come at once one writes, and neither writes a number twice', async (t) => {
  const { database, node, records } = await world(t, { everyRecords: 1 });
  const nodes = [node(), node(), node()];
  for (let round = 0; round < 4; round += 1) {
    await records(2);
    await Promise.all(nodes.map((one) => one.write()));
  }
  const rows = await database.owner<{ number: string; note: string }>(
    'select * from checkpoints order by number',
  );
  t.same(
    rows.map(({ number }) => Number(number)),
    rows.map((_, i) => i + 1),
  );
  const covered = rows.flatMap(({ note }) => read(note).streams);
  let next = 0;
  for (const { firstSeq, nextSeq } of covered) {
    t.equal(firstSeq, next);
    next = nextSeq;
  }
});

t.test('nothing is signed on top of a checkpoint that is none of ours', async (t) => {
  const { database, keys, node, records } = await world(t, { everyRecords: 1 });
  await records(1);
  const [, first = ''] = await node().write();
  await records(1);
  const forgeries = [
    first.replace('\n3\n', '\n2\n'),
    first.replace(/^— .*$/m, `— ${keys.name} ${Buffer.alloc(68).toString('base64')}`),
    'nonsense',
  ];
  await database.owner('alter table checkpoints disable trigger append_only');
  const put = (note: string) => database.owner('update checkpoints set note = $1', [note]);
  for (const note of forgeries) {
    await put(note);
    await t.rejects(node().write(), { code: 'CONFLICT', message: /Checkpoint 1 in the database/ });
  }
  await put(first);
  await database.owner(`create table away as select * from signing_keys`);
  await database.owner('delete from signing_keys');
  await t.rejects(node().write(), { code: 'CONFLICT' }, 'and no key is made in place of one that is gone');
  await database.owner('insert into signing_keys select * from away');
  t.match(await node().write(), { length: 2 });
});

t.test('a stream whose records are not those that were shipped is held back, and others go on', async (t) => {
  const { checkpoints, database, faults, journal, records, time } = await world(t, { everyRecords: 1 });
  await records(1);
  await checkpoints.write();
  await records(3);
  await database.owner(
    `do $$ declare part text; begin for part in select relname from pg_class where relname ~ '^journal_(default|\\d)' and relkind = 'r' loop
       execute format('alter table %I disable trigger user', part); execute format('alter table %I no force row level security', part);
     end loop; end $$;
     alter table journal disable trigger user; alter table journal no force row level security;
     delete from journal where stream = '${journal.stream}' and seq = 5`,
  );
  t.same(await checkpoints.write(), []);
  t.same(await checkpoints.write(), []);
  t.match(faults, [{ stream: journal.stream, seq: 3, kind: 'missing' }], 'told once');
  t.equal(faults.length, 1);
  time.now += 60_000;
  await checkpoints.write();
  t.equal(faults.length, 2, 'and looked at again a minute later');
});

t.test('a key that takes over is introduced by the one before, and signs from then on', async (t) => {
  const { checkpoints, keys, node, records } = await world(t, { everyRecords: 1 });
  await records(1);
  const [, first] = await checkpoints.write();
  const next = await keys.takeover();
  const introduction = next.note;
  await next.keep();
  await records(1);
  const notes = await checkpoints.write();
  t.equal(notes[0], introduction);
  const { strangers, verifiers } = await keys.known();
  t.same(strangers, []);
  const [before, after] = verifiers as [(typeof verifiers)[0], (typeof verifiers)[0]];
  for (const verifier of [before, after]) t.ok(isSignedBy(parseNote(introduction)!, verifier));
  t.ok(isSignedBy(parseNote(first ?? '')!, before));
  t.notOk(isSignedBy(parseNote(first ?? '')!, after));
  t.ok(isSignedBy(parseNote(notes[1] ?? '')!, after));
  await records(1);
  t.match(await node().write(), { length: 2 }, 'a new process goes on behind it');
});
