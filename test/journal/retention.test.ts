import { sql } from 'kysely';
import t from 'tap';
import { retireMonths } from '../../src/journal-retirement.ts';
import { hashOfLine } from '../../src/journal/chain.ts';
import { createCheckpointKeys } from '../../src/journal/checkpoint-keys.ts';
import { createCheckpoints } from '../../src/journal/checkpoints.ts';
import { isSignedBy, noteHash, parseNote, signedNote } from '../../src/journal/note.ts';
import { createProver } from '../../src/journal/proof.ts';
import { readRetired, retiredText } from '../../src/journal/retired-note.ts';
import { createRetirement } from '../../src/journal/retirement.ts';
import { createShipper } from '../../src/journal/shipper.ts';
import { verifyJournal } from '../../src/journal/verify.ts';
import { strangersKey, told } from '../faults/tampering.ts';
import { testVault } from '../vault/test-vault.ts';
import { begin, end, folder, newCall, openTestJournal, relay, workspaceId } from './fixture.ts';

const months = [2, 1, 0].map((back) => {
  const now = new Date();
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - back, 1)).toISOString().slice(0, 10);
}) as [string, string, string];
const [old, last] = months;

t.test('a month goes whole, behind a signed stub, and the rest verifies', async (t) => {
  const { database, time, vault } = await testVault(t);
  const { owner, store } = database;
  const clock = (): number => time.now;
  const dir = await folder(t);
  const journal = await openTestJournal(t, dir, { clock });
  const shipper = createShipper({ store, journal, clock });
  t.teardown(() => shipper.stop());
  const keys = createCheckpointKeys(vault, clock);
  const checkpoints = createCheckpoints({
    store,
    journal,
    keys,
    clock,
    onFault: (fault) => t.fail(fault.message),
  });
  const cover = async (): Promise<void> => {
    while ((await checkpoints.write({ isForced: true })).length > 0);
  };
  const record = journal.append.bind(journal);
  const retirement = createRetirement({ store, keys, record, clock, keepMonths: 1 });
  const verify = async (since: Date | null = null) => {
    const active = await vault.signingKeys.active();
    return verifyJournal({ dir, store, since, activeKey: active?.publicKey ?? null });
  };
  const at = (): string => new Date(time.now).toISOString();
  const system = (text: string) => store.asSystem((tx) => sql.raw(text).execute(tx));

  time.now = Date.parse(`${old}T12:00:00Z`);
  const long = newCall(at());
  const receipt = await journal.append('use.begin', begin(long));
  for (let i = 0; i < 5; i += 1) await relay(journal, newCall(at()));
  const act = { actId: 'act_1', workspaceId };
  const { hash } = await journal.append('key.create.intent', act);
  const row = {
    act_id: 'act_1',
    workspace_id: workspaceId,
    digest: Buffer.from(hash, 'hex'),
    at: new Date(time.now),
  };
  await store.asWorkspace(workspaceId, (tx) => tx.insertInto('acts').values(row).execute());
  await shipper.flush();
  // Another node's, which ends while one checkpoint covers all of it.
  const brief = await openTestJournal(t, await folder(t), { clock, nodeId: 'node_b' });
  const other = createShipper({ store, journal: brief, clock });
  await relay(brief, newCall(at()));
  await other.flush();
  // What began in a month ends in the next.
  time.now = Date.parse(`${last}T00:00:00Z`);
  await relay(brief, newCall(at()));
  await other.flush();
  await other.stop();
  await journal.append('key.create.done', act);
  await journal.append('use.end', end(long, receipt, { endedAt: at() }));
  for (let i = 0; i < 3; i += 1) await relay(journal, newCall(at()));
  await shipper.flush();
  time.now = Date.now();
  await relay(journal, newCall(at()));
  await shipper.flush();

  t.match(await retirement.old(), [
    { month: old, records: 16, obstacle: 'not-covered', streams: [journal.stream, brief.stream] },
  ]);
  await t.rejects(retirement.retire(old), { code: 'CONFLICT' });
  await t.rejects(retirement.retire(last), /to be kept/);
  await cover();
  await shipper.flush();
  await cover();
  t.match(await verify(), { ok: true, openCalls: 0 });
  await t.rejects(system(`select drop_retired_month('${old}')`), /no stub/);
  await t.rejects(system(`select drop_retired_month('${last}')`), /too young/);
  const stub = `insert into retired_months values (1, '${old}', 12, 6, now(), '')`;
  await t.rejects(system(`${stub}; select drop_retired_month('${old}')`), /not those of the stub/);

  // A record of today, put into the old month to go with it: nobody signs that.
  await owner('alter table journal disable trigger user; alter table journal no force row level security');
  const move = (month: string, seq: number) =>
    owner('update journal set month = $1 where stream = $2 and seq = $3', [month, journal.stream, seq]);
  const { rows: newest } = await store.asSystem((tx) =>
    sql<{ month: string; seq: bigint }>`select month, seq from journal where stream = ${journal.stream}
      order by seq desc limit 1`.execute(tx),
  );
  const young = Number(newest[0]!.seq);
  await move(old, young);
  t.same((await verify()).problems, []);
  t.match(await retirement.old(), [{ month: old, records: 17, obstacle: 'late' }]);
  await t.rejects(retirement.retire(old), /came when it was over/);
  await move(newest[0]!.month, young);

  const config = { journalRetentionMonths: 1 };
  const deps = { store, vault, record, clock };
  const verdict = await verify();
  const faulty = { problems: [{ stream: journal.stream, seq: 3, kind: 'hash', message: '' }] } as const;
  t.match(await retireMonths(config, deps, { verdict: faulty }), [{ month: old, outcome: 'faulty' }]);
  const full = { problems: Array.from({ length: 1000 }, () => ({ ...faulty.problems[0], stream: 'x:y' })) };
  t.match(await retireMonths(config, deps, { verdict: full }), [{ month: old, outcome: 'faulty' }]);
  t.match(await retireMonths(config, deps, { verdict, isDryRun: true }), [{ month: old, outcome: 'due' }]);
  t.same(await retireMonths({ journalRetentionMonths: null }, deps, { verdict }), []);
  t.match(await retireMonths(config, deps, { verdict }), [{ month: old, records: 16, outcome: 'retired' }]);
  t.same(await retireMonths(config, deps, { verdict }), []);
  await shipper.flush();
  await cover();

  const [kept] = await owner<{ journal: boolean; usage: boolean }>(
    `select to_regclass('journal_${old.slice(0, 7).replace('-', '_')}') is not null as journal,
            to_regclass('usage_events_${old.slice(0, 7).replace('-', '_')}') is not null as usage`,
  );
  t.same(kept, { journal: false, usage: false });
  const hours = await store.asSystem((tx) => tx.selectFrom('usage_hourly').select('calls').execute());
  t.equal(
    hours.reduce((sum, { calls }) => sum + calls, 0n),
    12n,
    'bills of old months stay',
  );
  const { note } = await store.asSystem((tx) =>
    tx.selectFrom('retired_months').selectAll().executeTakeFirstOrThrow(),
  );
  const parsed = parseNote(note)!;
  t.ok((await keys.known()).verifiers.some((verifier) => isSignedBy(parsed, verifier)));
  t.match(readRetired(parsed), {
    number: 1,
    month: old,
    records: 16,
    usageRows: 7,
    streams: [
      { stream: journal.stream, firstSeq: 0, nextSeq: 13 },
      { stream: brief.stream, firstSeq: 0, nextSeq: 3 },
    ],
  });
  t.same(await verify().then(({ problems }) => problems), []);
  t.equal((await verify()).openCalls, 0);
  const moments = [Date.parse(old), Date.parse(last), time.now, time.now + 60_000];
  for (const moment of moments)
    t.same((await verify(new Date(moment))).problems, [], 'since whenever it is asked for');
  const prover = createProver({ store, keys });
  t.equal(await prover.goneWith(journal.stream, 12), old);
  t.equal(await prover.goneWith(journal.stream, 13), null);

  // Whoever owns the database, with a part of a checkpoint's leaves gone: the end of a stream, written anew with all that repeats it.
  const [{ line, hash: own, previous }] = (await owner<{ line: string; hash: string; previous: string }>(
    `select line, encode(hash, 'hex') as hash, (select encode(hash, 'hex') from journal where stream = $1 and seq = 3) as previous
     from journal where stream = $1 and seq = 4`,
    [brief.stream],
  )) as [{ line: string; hash: string; previous: string }];
  const write = async (text: string, hash: string, bytes: number) => {
    await owner(`update journal set line = $2, hash = decode($3, 'hex') where stream = $1 and seq = 4`, [
      brief.stream,
      text,
      hash,
    ]);
    await owner(`update journal_streams set head_hash = decode($2, 'hex') where stream = $1`, [
      brief.stream,
      hash,
    ]);
    await owner('update usage_events set response_bytes = $2 where call_id = $1', [
      JSON.parse(text).callId,
      bytes,
    ]);
  };
  const changed = line.replace('"responseBytes":2000', '"responseBytes":1');
  const anew = hashOfLine(Buffer.from(changed), own, previous)!;
  await owner(
    'alter table usage_events disable trigger user; alter table usage_events no force row level security',
  );
  await write(changed.replace(own, anew), anew, 1);
  t.same(told((await verify()).problems), [`checkpoint ${brief.stream} 4`]);
  await write(line, own, 2000);
  t.same((await verify()).problems, []);

  // Whoever owns the database, with the month gone: no stub, another's, and one that says more than went.
  await owner('alter table retired_months disable trigger user');
  const put = (text: string) => owner('update retired_months set note = $1', [text]);
  await put(signedNote(keys.name, parsed.text, [strangersKey()]));
  t.match(told((await verify()).problems), ['checkpoint retired_months 1', /^gap .* 0$/]);
  await put(note.replace('records 16', 'records 15'));
  t.match(told((await verify()).problems), ['checkpoint retired_months 1']);
  await put(note);
  await owner(`update retired_months set records = 15`);
  t.same(told((await verify()).problems), ['checkpoint retired_months 1']);
  await put(note);
  await owner('update retired_months set records = 16');
  // A signed stub that takes a record of today with it: of a gateway that was told that the month is old.
  const stretch = { stream: journal.stream, firstSeq: young + 1, nextSeq: young + 2 };
  const [gone] = await owner<{ hash: string }>(
    `delete from journal where stream = $1 and seq = $2 returning encode(hash, 'hex') as hash`,
    [journal.stream, stretch.firstSeq],
  );
  const late = { number: 2, month: old, records: 1, usageRows: 0, at: at(), previous: noteHash(parsed) };
  const text = retiredText(keys.name, { ...late, streams: [{ ...stretch, headHash: gone!.hash }] });
  await owner('insert into retired_months values (2, $1, 1, 0, $2, $3)', [
    old,
    late.at,
    await keys.sign(text),
  ]);
  t.match(told((await verify()).problems), [/^checkpoint checkpoints \d+$/]);
  await owner('delete from retired_months');
  t.ok(told((await verify()).problems).includes(`gap ${journal.stream} 0`));
});
