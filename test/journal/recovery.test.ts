import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { openJournal } from '../../src/journal/journal.ts';
import { settleCrashed } from '../../src/journal/recovery.ts';
import { verifyJournal } from '../../src/journal/verify.ts';
import {
  begin,
  end,
  folder,
  linesOf,
  newCall,
  openTestJournal,
  relay,
  segmentsOf,
  watched,
} from './fixture.ts';

const never = (): Promise<boolean> => Promise.reject(new Error('not asked for'));
const parsed = async (dir: string): Promise<Record<string, string>[]> =>
  (await linesOf(dir)).map((line) => JSON.parse(line) as Record<string, string>);

t.test('kill -9 under appends: what was acknowledged is there, and every begin gets one end', async (t) => {
  const dir = await folder(t);
  const child = fileURLToPath(new URL('crash-child.ts', import.meta.url));
  for (let round = 0; round < 3; round += 1) {
    const run = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', child, dir], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let said = '';
    const closed = once(run.stdout, 'end');
    for await (const chunk of run.stdout) {
      said += String(chunk);
      if (said.length > 200_000 + round * 7_777) run.kill('SIGKILL');
    }
    await closed;
    const texts = new Set(
      (await parsed(dir)).map(
        ({ hash, seq, stream }) => `${stream}.${seq}.${String(hash).slice(0, 16)} ${hash}`,
      ),
    );
    const lost = said
      .split('\n')
      .slice(0, -1)
      .filter((line) => !texts.has(line.slice(line.indexOf(' ') + 1)));
    t.same(lost, [], 'nothing that append resolved for is lost');
    const journal = await openTestJournal(t, dir);
    await settleCrashed({ journal, lookup: never });
    await journal.close();
  }
  const counts = new Map<string, number>();
  for (const { callId, event } of await parsed(dir)) {
    if (event === 'use.begin') counts.set(String(callId), counts.get(String(callId)) ?? 0);
    if (event === 'use.end') counts.set(String(callId), (counts.get(String(callId)) ?? 0) + 1);
  }
  t.ok(counts.size > 300, `${counts.size} calls`);
  t.ok([...counts.values()].every((ends) => ends === 1));
  t.match(await verifyJournal({ dir, store: null }), { ok: true, openCalls: 0, problems: [] });
});

t.test('a crashed call ends as crash, with nothing known of its usage', async (t) => {
  const dir = await folder(t);
  const crashed = await crashedJournal(dir);
  const call = newCall();
  const receipt = await crashed.journal.append('use.begin', begin(call));
  await crashed.die();
  const journal = await openTestJournal(t, dir);
  t.match(await settleCrashed({ journal, lookup: never }), {
    calls: 1,
    acts: 0,
    openActs: 0,
    torn: 0,
    faults: [],
  });
  t.match((await parsed(dir)).at(-1), {
    event: 'use.end',
    stream: journal.stream,
    callId: call.callId,
    attempt: 1,
    final: true,
    beginStream: receipt.stream,
    beginSeq: receipt.seq,
    receipt: receipt.text,
    outcome: 'crash',
    endReason: 'crash',
    usage: null,
    usageSource: 'unknown',
    costNanoUsd: null,
    startedAt: call.startedAt,
  });
  t.match(
    await settleCrashed({ journal, lookup: never }),
    { calls: 0 },
    'asked again, nothing is settled twice',
  );
});

t.test('of a call’s attempts that a crash left open the last one alone is final', async (t) => {
  const dir = await folder(t);
  const crashed = await crashedJournal(dir);
  const call = newCall();
  await crashed.journal.append('use.begin', begin(call));
  await crashed.journal.append('use.begin', { ...begin(call), attempt: 2 });
  await crashed.die();
  const journal = await openTestJournal(t, dir);
  t.match(await settleCrashed({ journal, lookup: never }), { calls: 2 });
  const ends = (await parsed(dir)).filter(({ event }) => event === 'use.end');
  t.same(
    ends.map(({ attempt, final }) => [attempt, final]),
    [
      [1, false],
      [2, true],
    ],
  );
});

t.test('a crash in the middle of recovery settles nothing twice', async (t) => {
  const dir = await folder(t);
  const first = await crashedJournal(dir);
  for (let i = 0; i < 20; i += 1) await first.journal.append('use.begin', begin(newCall()));
  await first.die();
  // The second start wrote eight ends and died before it could mark anything.
  const second = await crashedJournal(dir);
  let left = 8;
  await settleCrashed({
    journal: {
      ...second.journal,
      appendRecovered: (event, fields) =>
        (left -= 1) >= 0 ? second.journal.appendRecovered(event, fields) : Promise.reject(new Error('died')),
    },
    lookup: never,
  }).catch(() => undefined);
  await second.die();
  const journal = await openTestJournal(t, dir);
  t.match(await settleCrashed({ journal, lookup: never }), { calls: 12 });
  const ends = (await parsed(dir)).filter(({ event }) => event === 'use.end').map(({ callId }) => callId);
  t.equal(ends.length, 20);
  t.equal(new Set(ends).size, 20);
});

t.test(
  'what a living process settled of a younger stream, and then died itself, is settled once',
  async (t) => {
    const dir = await folder(t);
    const settler = await crashedJournal(dir);
    const worker = await crashedJournal(dir);
    await worker.journal.append('use.begin', begin(newCall()));
    await worker.die();
    t.match(await settleCrashed({ journal: settler.journal, lookup: never }), { calls: 1 });
    // As it would be had the settler died before the mark.
    for (const name of await readdir(dir)) if (name.endsWith('.settled')) await rm(`${dir}/${name}`);
    await settler.die();
    const journal = await openTestJournal(t, dir);
    t.match(await settleCrashed({ journal, lookup: never }), { calls: 0, faults: [] });
    t.equal((await parsed(dir)).filter(({ event }) => event === 'use.end').length, 1);
    t.match(await verifyJournal({ dir, store: null }), { ok: true, openCalls: 0 });
  },
);

t.test('an intent without outcome is asked about, and stays open while nobody can say', async (t) => {
  const dir = await folder(t);
  const crashed = await crashedJournal(dir);
  for (const actId of ['act_1', 'act_2', 'act_3']) {
    await crashed.journal.append('key.create.intent', {
      actId,
      workspaceId: 'ws_1',
      actor: { type: 'admin', id: 'tok_1' },
    });
  }
  await crashed.journal.append('key.create.done', { actId: 'act_3', workspaceId: 'ws_1' });
  await crashed.die();
  const journal = await openTestJournal(t, dir);
  t.match(await settleCrashed({ journal, lookup: never }), { acts: 0, openActs: 2 });
  t.match(await settleCrashed({ journal, lookup: async (id) => id === 'act_1' }), { acts: 2, openActs: 0 });
  t.match(await settleCrashed({ journal, lookup: never }), { acts: 0, openActs: 0 });
  const outcomes = (await parsed(dir)).filter(({ stream }) => stream === journal.stream).slice(1);
  t.same(
    outcomes.map(({ actId, event }) => [actId, event]),
    [
      ['act_1', 'key.create.done'],
      ['act_2', 'key.create.failed'],
    ],
  );
});

t.test('a torn last line is noted, then cut', async (t) => {
  const dir = await folder(t);
  const crashed = await crashedJournal(dir);
  await relay(crashed.journal);
  await crashed.die();
  const [path] = (await segmentsOf(dir)) as [string];
  const whole = await readFile(path);
  await appendFile(path, '{"at":"2026-11-22T13:00:00.0');
  const { problems } = await verifyJournal({ dir, store: null });
  t.match(problems, [{ stream: crashed.journal.stream, seq: 3, kind: 'torn' }]);
  const journal = await openTestJournal(t, dir);
  t.match(await settleCrashed({ journal, lookup: never }), { torn: 1, faults: [] });
  t.ok((await readFile(path)).equals(whole));
  t.match((await parsed(dir)).at(-1), {
    event: 'stream.torn',
    tornStream: crashed.journal.stream,
    tornSeq: 3,
    cutBytes: 28,
  });
  t.match(await verifyJournal({ dir, store: null }), { ok: true });
});

t.test('a full journal recovers: torn tail, open calls and acts', async (t) => {
  const dir = await folder(t);
  const crashed = await crashedJournal(dir);
  for (let i = 0; i < 80; i += 1) await relay(crashed.journal);
  await crashed.journal.append('use.begin', begin(newCall()));
  await crashed.journal.append('key.create.intent', { actId: 'act_1', workspaceId: 'ws_1' });
  await crashed.die();
  await appendFile(((await segmentsOf(dir)) as [string])[0], '{"at":"2026-');
  const journal = await openTestJournal(t, dir, { maxBytes: 65_536 });
  t.notOk(journal.isOpen());
  t.match(await settleCrashed({ journal, lookup: async () => false }), { torn: 1, calls: 1, acts: 1 });
  t.match(await verifyJournal({ dir, store: null }), { ok: true, openCalls: 0 });
  await t.rejects(journal.appendRecovered('use.begin', begin(newCall())), { code: 'INTERNAL' });
  await journal.close();
  await t.rejects(journal.appendRecovered('stream.torn', {}), { code: 'JOURNAL_UNAVAILABLE' });
});

t.test('a tail whose note the disk does not take is not cut', async (t) => {
  const dir = await folder(t);
  const crashed = await crashedJournal(dir);
  await relay(crashed.journal);
  await crashed.die();
  const [path] = (await segmentsOf(dir)) as [string];
  await appendFile(path, '{"at":"2026-');
  const torn = await readFile(path);
  let isBroken = false;
  const fail = (): void => {
    if (isBroken) throw new Error('EIO');
  };
  const files = watched({ write: fail, create: fail });
  const journal = await openTestJournal(t, dir, { files });
  isBroken = true;
  const refusal = { code: 'JOURNAL_UNAVAILABLE' };
  await t.rejects(settleCrashed({ journal, lookup: never }), refusal, 'as the disk breaks');
  await t.rejects(settleCrashed({ journal, lookup: never }), refusal, 'and while it is broken');
  t.ok((await readFile(path)).equals(torn));
});

t.test('other damage is reported and the stream left as it is', async (t) => {
  const dir = await folder(t);
  const crashed = await crashedJournal(dir);
  await relay(crashed.journal);
  await crashed.journal.append('use.begin', begin(newCall()));
  await crashed.die();
  const [path] = (await segmentsOf(dir)) as [string];
  const damaged = (await readFile(path, 'utf8')).replace('"gpt-4o"', '"gpt-4p"');
  await writeFile(path, damaged);
  const journal = await openTestJournal(t, dir);
  const faults: unknown[] = [];
  t.match(await settleCrashed({ journal, lookup: never, onFault: (fault) => void faults.push(fault) }), {
    calls: 0,
  });
  t.match(faults, [{ stream: crashed.journal.stream, seq: 1, kind: 'hash' }]);
  t.equal(await readFile(path, 'utf8'), damaged);
});

t.test('the calls of a process that lives are nobody else’s to end', async (t) => {
  const dir = await folder(t);
  const child = fileURLToPath(new URL('crash-child.ts', import.meta.url));
  const run = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', child, dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(run.stdout, 'data');
  run.kill('SIGSTOP');
  const journal = await openTestJournal(t, dir);
  t.match(await settleCrashed({ journal, lookup: never }), { calls: 0, torn: 0, faults: [] });
  const gone = once(run, 'exit');
  run.kill('SIGKILL');
  run.stdout.resume();
  await gone;
  t.ok((await settleCrashed({ journal, lookup: never })).calls > 0);
  t.match(await verifyJournal({ dir, store: null }), { ok: true });
});

t.test('what stands behind the last acknowledged record of a condemned stream never happened', async (t) => {
  const dir = await folder(t);
  const crashed = await crashedJournal(dir);
  const call = newCall();
  const receipt = await crashed.journal.append('use.begin', begin(call));
  const { text: _, stream: __, ...head } = await crashed.journal.append('use.end', end(call, receipt));
  await crashed.journal.append('use.begin', begin(newCall()));
  await crashed.die();
  const [path] = (await segmentsOf(dir)) as [string];
  await writeFile(path.replace('.000000000000.jsonl', '.condemned'), JSON.stringify(head));
  const journal = await openTestJournal(t, dir);
  t.match(await settleCrashed({ journal, lookup: never }), { calls: 0 });
  t.match(await verifyJournal({ dir, store: null }), { ok: true, records: 4, openCalls: 0 });
});

/** A journal whose process ends without a word: the lock is free, no `stream.close` is written. */
async function crashedJournal(
  dir: string,
): Promise<{ journal: Awaited<ReturnType<typeof openJournal>>; die(): Promise<void> }> {
  const journal = await openJournal({
    dir,
    nodeId: 'node_a',
    bootId: `boot_${Math.random().toString(36).slice(2)}`,
    sync: 'strict',
    maxBytes: 1024 ** 3,
    clock: Date.now,
  });
  return {
    journal,
    async die() {
      const { stream } = journal;
      await journal.close();
      // The last word taken back.
      for (const path of await segmentsOf(dir)) {
        if (!path.includes(stream.replace(':', '.'))) continue;
        const text = await readFile(path, 'utf8');
        await writeFile(
          path,
          text
            .split('\n')
            .filter((line) => !line.includes('"event":"stream.close"'))
            .join('\n'),
        );
      }
    },
  };
}
