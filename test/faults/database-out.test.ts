import t from 'tap';
import { createPresumption } from '../../src/journal/presumption.ts';
import { checkJournal } from '../../src/journal-check.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { ask, type Answered } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';
import { databaseLine } from './database-line.ts';

t.setTimeout(60_000);

const key = 'sk-test-outage-0123456789abcdef';
const minute = 60_000;
const lookMs = 5000;

/** The short form, on a clock of its own; `node test/faults/database-out-long.ts` takes 16 minutes on the real one. */
t.test(
  'two nodes, a stream of 15 minutes on each, the database away for 10: each ends once, and is charged once',
  async (t) => {
    const usage = '{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}';
    const upstream = await scriptUpstream(t, { key });
    const lines = [databaseLine(t), databaseLine(t)] as const;
    const settings = { upstreams: { openai: upstream.origin } };
    const first = await startGateway(t, { ...settings, through: lines[0].connection });
    await first.addKey('openai', key);
    const second = await startGateway(t, { ...settings, through: lines[1].connection, beside: first });
    const nodes = [first, second];
    const [beat, otherBeat] = nodes.map(({ app }) => app.rootKeys.beat) as [Beat, Beat];

    let now = 0;
    const watches = nodes.map(({ installation }) => createPresumption({ ...installation, clock: () => now }));
    const presumed: number[] = [];
    /** Both look every five seconds; a look that fails counts as none. */
    const pass = async (ms: number, looks = watches): Promise<void> => {
      for (const until = now + ms; now < until;) {
        now += lookMs;
        for (const watch of looks) presumed.push(await watch.look().catch(() => -1));
      }
    };
    /** For the database's clock so much time has passed as for ours. */
    const age = (ms: number): Promise<unknown> =>
      first.database.owner(`update nodes set beat_at = beat_at - interval '${ms} milliseconds'`);
    const count = (): number => presumed.splice(0).reduce((sum, one) => sum + Math.max(0, one), 0);

    for (const one of [beat, otherBeat]) one.start();
    await Promise.all(nodes.map(({ app }) => app.rootKeys.beat.now()));
    const calls = await Promise.all(nodes.map((node) => openStream(node)));
    await Promise.all(nodes.map(({ installation }) => installation.shipper.flush()));
    await pass(2 * minute);
    t.equal(count(), 0, 'nobody is gone');

    for (const line of lines) line.cut();
    await age(10 * minute);
    await pass(10 * minute);
    t.ok(
      presumed.every((one) => one === -1),
      'without the database nobody knows who is gone',
    );
    count();
    for (const line of lines) line.mend();
    // The other one’s heartbeat is gone as far as each can see: its way to the database is mended later.
    await pass(5 * minute - lookMs);
    t.equal(count(), 0, 'and five minutes without a break have not passed');
    await Promise.all([beat.now(), otherBeat.now()]);
    await pass(minute);
    t.equal(count(), 0, 'nobody was buried alive');

    // A node that has lost the database alone is presumed gone, once, and its end supersedes that.
    lines[0].cut();
    await age(minute);
    await otherBeat.now();
    await pass(5 * minute, [watches[1]!]);
    t.equal(count(), 0);
    lines[1].cut();
    await pass(lookMs, [watches[1]!]);
    t.same(presumed.splice(0), [-1]);
    lines[1].mend();
    await until(() => second.installation.store.ping());
    await pass(5 * minute, [watches[1]!]);
    t.equal(count(), 0, 'one look without an answer, and the watch begins anew');
    await second.installation.shipper.flush();
    const third = createPresumption({ ...second.installation, clock: () => now });
    await third.look();
    await pass(lookMs, [watches[1]!]);
    t.equal(count(), 1, 'after five minutes its call is presumed ended');
    await age(minute);
    await otherBeat.now();
    await pass(6 * minute, [watches[1]!, third]);
    t.equal(count(), 0, 'once, whoever looks');
    await second.installation.shipper.flush();
    const [mark] = await recordsOf(second, 'use.presumed');
    t.match(mark, { callId: calls[0]!.id, beginStream: first.installation.journal.stream, attempt: 1 });
    t.ok(Number(mark?.['goneSeconds']) >= 300);
    t.same(await rowsOf(second), [], 'no usage is booked on a presumption');

    lines[0].mend();
    for (const { finish } of calls) finish();
    for (const { answer } of calls) t.ok((await answer).isWhole);
    await beat.now();
    for (const node of nodes) await until(() => node.shipped());
    await pass(6 * minute);
    t.equal(count(), 0);
    t.same(
      (await rowsOf(second)).toSorted(),
      calls.map(({ id }) => `${id} 1 ok 5`).toSorted(),
      'each call has one row, of what it really used',
    );
    t.equal((await recordsOf(second, 'use.end')).length, 2);
    t.equal((await recordsOf(second, 'use.presumed')).length, 1);
    const { body } = await second.api('GET', '/usage');
    t.match(body.totals, { calls: 2, inputTokens: 6, outputTokens: 4 });
    for (const node of nodes) {
      const dataDir = node.journalDir.replace(/\/journal$/, '');
      const verdict = await checkJournal({ dataDir }, node.installation);
      t.match(verdict, { ok: true, problems: [], openCalls: 0 });
    }

    /** A stream under way; the upstream sends its end when told to. */
    async function openStream(node: TestGateway): Promise<OpenCall> {
      const rest = Promise.withResolvers<void>();
      upstream.respond([{ events: ['{"choices":[]}', rest.promise, usage, '[DONE]'] }]);
      const begun = Promise.withResolvers<void>();
      const answer = ask(`${node.origin}/v1/chat/completions`, {
        headers: { 'x-api-key': node.token },
        body: { model: 'gpt-4o', stream: true, stream_options: { include_usage: true } },
        onData: () => begun.resolve(),
      });
      await begun.promise;
      const open = (await openCalls(node)).at(-1);
      return { answer, id: open ?? '', finish: rest.resolve };
    }
  },
);

async function until(works: () => Promise<unknown>): Promise<void> {
  const from = performance.now();
  for (;;) {
    const error = await works().then(
      () => null,
      (reason: unknown) => reason,
    );
    if (error === null) return;
    if (performance.now() - from > 20_000) throw error;
  }
}

type Beat = TestGateway['app']['rootKeys']['beat'];

interface OpenCall {
  readonly id: string;
  readonly answer: Promise<Answered>;
  readonly finish: () => void;
}

async function openCalls(node: TestGateway): Promise<string[]> {
  await node.installation.shipper.flush();
  const { stream } = node.installation.journal;
  return (await recordsOf(node, 'use.begin'))
    .filter((record) => record['stream'] === stream)
    .map((record) => String(record['callId']));
}

async function recordsOf(node: TestGateway, event: string): Promise<Record<string, unknown>[]> {
  const rows = await node.installation.store.asSystem((tx) =>
    tx.selectFrom('journal').select('line').where('event', '=', event).orderBy('at').execute(),
  );
  return rows.map(({ line }) => JSON.parse(line) as Record<string, unknown>);
}

async function rowsOf(node: TestGateway): Promise<string[]> {
  const rows = await node.installation.store.asSystem((tx) =>
    tx.selectFrom('usage_events').selectAll().execute(),
  );
  return rows.map(
    (row) =>
      `${row.call_id} ${row.attempt} ${row.outcome} ${Number(row.input_tokens) + Number(row.output_tokens)}`,
  );
}
