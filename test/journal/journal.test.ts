import { constants } from 'node:fs';
import { readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { canonicalize } from '../../src/journal/canonical.ts';
import { genesisHash } from '../../src/journal/chain.ts';
import { createCursor } from '../../src/journal/cursor.ts';
import { diskFiles } from '../../src/journal/file-seam.ts';
import type { Fields, Receipt } from '../../src/journal/journal.ts';
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
    files: watched({ write: () => void (syncs += 1) }),
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
        write() {
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

t.test('ends that waited for the next stream stand in it in their order, to the letter', async (t) => {
  const dir = await folder(t);
  const [underway, failing] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const [closed, opened] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isBroken = false;
  const journal = await openTestJournal(t, dir, {
    retryMs: 5,
    files: watched({
      async write() {
        if (!isBroken) return;
        underway.resolve();
        await failing.promise;
        throw new Error('EIO');
      },
    }),
    onGate: (isClosed) => (isClosed ? closed : opened).resolve(),
  });
  const call = newCall();
  const receipt = await journal.append('use.begin', begin(call));
  const providerUsage = JSON.parse(
    `{"b":[{"z":1e-7,"a":-0,"":null}],"__proto__":{"hash":"${'f'.repeat(64)}"},"a":9007199254740991}`,
  );
  const ends = Array.from({ length: 4 }, (_, n) =>
    end(call, receipt, { attempt: n + 1, model: 'ü\u2028"\\\n\ud83d\ude00\ud800', providerUsage }),
  );
  const append = (n: number) => journal.append('use.end', ends[n] as Fields);
  isBroken = true;
  const appended = [append(0)];
  const refused = journal.append('use.begin', begin(newCall()));
  await underway.promise;
  appended.push(append(1));
  isBroken = false;
  failing.resolve();
  await t.rejects(refused, { code: 'JOURNAL_UNAVAILABLE' });
  await closed.promise;
  appended.push(append(2));
  await opened.promise;
  appended.push(append(3));
  const { stream } = (await Promise.all(appended)).at(-1) as Receipt;
  const cursor = createCursor(dir, stream, { seq: 0, hash: genesisHash });
  const { fault, records } = await cursor.read(Infinity);
  await cursor.close();
  t.equal(fault, null);
  t.same(
    records.slice(1).map(({ line, record }) => {
      t.equal(line.toString('utf8'), canonicalize(record));
      const { at: _at, hash: _hash, seq: _seq, stream: _stream, v: _v, event, ...fields } = record;
      t.equal(event, 'use.end');
      return canonicalize(fields);
    }),
    ends.map((fields) => canonicalize(fields)),
  );
});

t.test('a strict file is one whose writes are durable, and a relaxed one is not', async (t) => {
  for (const sync of ['strict', 'relaxed'] as const) {
    const dir = await folder(t);
    await openTestJournal(t, dir, { sync });
    const [path] = await segmentsOf(dir);
    const descriptors = await readdir('/proc/self/fd').catch(() => []);
    for (const descriptor of descriptors) {
      if ((await readlink(`/proc/self/fd/${descriptor}`).catch(() => '')) !== path) continue;
      const flags = /^flags:\s+(\d+)$/m.exec(await readFile(`/proc/self/fdinfo/${descriptor}`, 'utf8'))?.[1];
      t.equal((Number.parseInt(flags ?? '', 8) & constants.O_DSYNC) !== 0, sync === 'strict');
    }
  }
});

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
      async create(path, sync) {
        const file = await diskFiles.create(path, sync);
        open.add(path);
        if (isBroken && (probes += 1) >= 5) probed.resolve();
        return {
          write: (...place) => (isBroken ? Promise.reject(new Error('EIO')) : file.write(...place)),
          datasync: () => file.datasync(),
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
    files: watched({ write: () => (isStuck ? stuck.promise : undefined) }),
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
