import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { diskFiles, type FileSeam, type JournalFile } from '../../src/journal/file-seam.ts';
import { begin, end, folder, linesOf, newCall, openTestJournal, relay, segmentsOf } from './fixture.ts';

t.test('a stream begins with where it came from, and a graceful stop is its last word', async (t) => {
  const dir = await folder(t);
  const first = await openTestJournal(t, dir);
  await relay(first);
  await first.close();
  const second = await openTestJournal(t, dir);
  const records = (await linesOf(dir)).map((line) => JSON.parse(line));
  t.same(
    records.map(({ event }) => event),
    ['stream.open', 'use.begin', 'use.end', 'stream.close', 'stream.open'],
  );
  t.equal(records[0].previous, null);
  const { stream, seq, hash } = records[3];
  t.same(records[4].previous, { stream, seq, hash, state: 'closed' });
  t.equal(second.stream, records[4].stream);
});

t.test('records handed in together become durable together, each with its own receipt', async (t) => {
  let syncs = 0;
  const journal = await openTestJournal(t, await folder(t), {
    files: watched({ datasync: () => void (syncs += 1) }),
  });
  const before = syncs;
  const receipts = await Promise.all(
    Array.from({ length: 500 }, () => journal.append('use.begin', begin(newCall()))),
  );
  t.ok(syncs - before <= 2, `${syncs - before} syncs`);
  t.same(
    receipts.map(({ seq }) => seq),
    Array.from({ length: 500 }, (_, i) => i + 1),
  );
  for (const { hash, seq, stream, text } of receipts) t.equal(text, `${stream}.${seq}.${hash.slice(0, 16)}`);
});

t.test('files are for their owner alone', async (t) => {
  const dir = await folder(t);
  await openTestJournal(t, dir);
  t.equal((await stat(dir)).mode & 0o777, 0o700);
  for (const path of await segmentsOf(dir)) t.equal((await stat(path)).mode & 0o777, 0o600);
});

t.test('newlines, terminal escapes, quotes and NUL in a field stay inside one valid line', async (t) => {
  const dir = await folder(t);
  const journal = await openTestJournal(t, dir);
  const model = 'a\nb\r\u2028"\\\u0000\u001b[31m","hash":"' + 'f'.repeat(64) + '"}\n{"seq":9}';
  await journal.append('use.begin', begin(newCall(), { model }));
  const lines = await linesOf(dir);
  t.equal(lines.length, 2);
  t.equal(JSON.parse(lines[1] as string).model, model);
});

t.test('what a provider counts may be monstrous: the end is written without it', async (t) => {
  const dir = await folder(t);
  const journal = await openTestJournal(t, dir);
  const call = newCall();
  const receipt = await journal.append('use.begin', begin(call));
  let deep: never[] = [];
  for (let i = 0; i < 5000; i += 1) deep = [deep as never];
  await journal.append('use.end', end(call, receipt, { providerUsage: deep }));
  await journal.append('use.end', end(call, receipt, { providerUsage: { x: 'y'.repeat(1e6) } }));
  const records = (await linesOf(dir)).slice(2).map((line) => JSON.parse(line));
  for (const record of records) t.match(record, { providerUsage: null, isProviderUsageLeftOut: true });
  t.equal(records.length, 2);
});

t.test('segments roll and the chain goes on', async (t) => {
  const dir = await folder(t);
  const journal = await openTestJournal(t, dir, { segmentBytes: 2000 });
  for (let i = 0; i < 10; i += 1) await relay(journal);
  const segments = await segmentsOf(dir);
  t.ok(segments.length > 3);
  const records = (await linesOf(dir)).map((line) => JSON.parse(line));
  t.same(
    records.map(({ seq }) => seq),
    Array.from({ length: 21 }, (_, i) => i),
  );
});

t.test(
  'a failed sync closes the gate, refuses what was not acknowledged, and goes on in a new stream',
  async (t) => {
    const dir = await folder(t);
    let isBroken = false;
    const gate: boolean[] = [];
    const opened = Promise.withResolvers<void>();
    const journal = await openTestJournal(t, dir, {
      retryMs: 5,
      files: watched({
        datasync() {
          if (isBroken) throw Object.assign(new Error('EIO'), { code: 'EIO' });
        },
        create() {
          if (isBroken) throw Object.assign(new Error('EIO'), { code: 'EIO' });
        },
      }),
      onGate(closed) {
        gate.push(closed);
        if (!closed) opened.resolve();
      },
    });
    const old = journal.stream;
    const call = newCall();
    const receipt = await journal.append('use.begin', begin(call));
    isBroken = true;
    const ending = journal.append('use.end', end(call, receipt));
    await t.rejects(journal.append('use.begin', begin(newCall())), { code: 'JOURNAL_UNAVAILABLE' });
    t.notOk(journal.isOpen());
    await t.rejects(journal.append('key.create.intent', { actId: 'act_1' }), { code: 'JOURNAL_UNAVAILABLE' });
    isBroken = false;
    await opened.promise;
    t.same(gate, [true, false]);
    const { stream } = await ending;
    t.not(stream, old, 'the end of a call that had begun is not lost, and stands in the new stream');
    t.equal(journal.stream, stream);
    const first = (await linesOf(dir))
      .map((line) => JSON.parse(line))
      .find((record) => record.stream === stream);
    t.match(first, {
      event: 'stream.open',
      previous: { stream: old, seq: receipt.seq, hash: receipt.hash, state: 'condemned' },
    });
    await journal.append('use.begin', begin(newCall()));
  },
);

t.test('a disk that fails for long is left without files, and files without an owner', async (t) => {
  const dir = await folder(t);
  const open = new Set<string>();
  const probed = Promise.withResolvers<void>();
  const opened = Promise.withResolvers<void>();
  let probes = 0;
  let isBroken = false;
  const journal = await openTestJournal(t, dir, {
    retryMs: 1,
    files: {
      ...diskFiles,
      async create(path) {
        const file = await diskFiles.create(path);
        open.add(path);
        if (isBroken && (probes += 1) >= 5) probed.resolve();
        return {
          write: (...place) => file.write(...place),
          datasync: () => (isBroken ? Promise.reject(new Error('EIO')) : file.datasync()),
          async close() {
            open.delete(path);
            await file.close();
          },
        };
      },
    },
    onGate: (closed) => void (closed || opened.resolve()),
  });
  isBroken = true;
  await t.rejects(journal.append('use.begin', begin(newCall())), { code: 'JOURNAL_UNAVAILABLE' });
  await probed.promise;
  isBroken = false;
  await opened.promise;
  await relay(journal);
  t.equal((await segmentsOf(dir)).length, 2, 'the condemned one and the new one');
  t.same((await readdir(dir)).filter((name) => name.endsWith('.lock')).length, 2);
  t.equal(open.size, 1, 'every other file was closed');
});

t.test('a disk that says nothing for too long is a failed disk', async (t) => {
  const stuck = Promise.withResolvers<void>();
  const opened = Promise.withResolvers<void>();
  let isStuck = false;
  const journal = await openTestJournal(t, await folder(t), {
    stallMs: 20,
    retryMs: 5,
    files: watched({ datasync: () => (isStuck ? stuck.promise : undefined) }),
    onGate: (closed) => void (closed || opened.resolve()),
  });
  isStuck = true;
  await t.rejects(journal.append('use.begin', begin(newCall())), { code: 'JOURNAL_UNAVAILABLE' });
  t.notOk(journal.isOpen());
  isStuck = false;
  stuck.resolve();
  await opened.promise;
  t.ok(journal.isOpen());
  await relay(journal);
});

t.test(
  'at nine tenths of JOURNAL_MAX_BYTES the gate closes, and what has begun still gets its end',
  async (t) => {
    const dir = await folder(t);
    const gate: boolean[] = [];
    const journal = await openTestJournal(t, dir, {
      maxBytes: 200_000,
      onGate: (closed) => void gate.push(closed),
    });
    const call = newCall();
    const receipt = await journal.append('use.begin', begin(call));
    while (journal.isOpen()) await relay(journal);
    t.same(gate, [true]);
    await t.rejects(journal.append('use.begin', begin(newCall())), { code: 'JOURNAL_UNAVAILABLE' });
    await journal.append('use.end', end(call, receipt));
  },
);

t.test('what already lies in the folder counts', async (t) => {
  const dir = await folder(t);
  await (await openTestJournal(t, dir)).close();
  await writeFile(join(dir, 'stray'), Buffer.alloc(95_000));
  t.notOk((await openTestJournal(t, dir, { maxBytes: 100_000 })).isOpen());
});

t.test('a boot id is used once: two chains of one name could not be told apart', async (t) => {
  const dir = await folder(t);
  const bootId = 'boot_1';
  await openTestJournal(t, dir, { bootId });
  await t.rejects(openTestJournal(t, dir, { bootId }), { code: 'JOURNAL_UNAVAILABLE' });
  t.equal((await segmentsOf(dir)).length, 1);
});

t.test('after close nothing is taken', async (t) => {
  const journal = await openTestJournal(t, await folder(t));
  await journal.close();
  t.notOk(journal.isOpen());
  await t.rejects(journal.append('use.end', end(newCall(), { stream: '', seq: 0, hash: '', text: '' })), {
    code: 'JOURNAL_UNAVAILABLE',
  });
});

/** The real disk, with something said before an operation. */
function watched(before: { datasync?: () => void | Promise<void>; create?: () => void }): FileSeam {
  return {
    async create(path) {
      before.create?.();
      const file = await diskFiles.create(path);
      const seen: JournalFile = {
        write: (bytes, offset, length, position) => file.write(bytes, offset, length, position),
        async datasync() {
          await before.datasync?.();
          await file.datasync();
        },
        close: () => file.close(),
      };
      return seen;
    },
    async put(path, text) {
      before.create?.();
      await diskFiles.put(path, text);
    },
  };
}
