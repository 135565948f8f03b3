import t from 'tap';
import { verifyJournal } from '../../src/journal/verify.ts';
import { allEnded } from '../support/all-ended.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';
import { commitLine, type Fate } from './commit-line.ts';

/** The short form; the long one: `node test/faults/commit-cut.test.ts 500`. */
const cuts = Number(process.argv[2] ?? 10);
t.setTimeout(60_000 + cuts * 10_000);

const key = 'sk-test-commit-0123456789abcdef';
const clients = 8;

t.test(`a connection that is reset in ${cuts} COMMITs, done or not, loses and doubles nothing`, async (t) => {
  const line = commitLine(t);
  const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };
  const upstream = await scriptUpstream(t, { key, script: [{ body: { choices: [], usage } }] });
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin }, through: line.connection });
  await gateway.addKey('openai', key);
  const limits = { requestsPerMinute: 1_000_000, concurrentCalls: 100 };
  const { body: minted } = await gateway.api('POST', '/tokens', { name: 'app', ...limits });

  const fates: Record<Fate, number> = { pass: 0, done: 0, 'not done': 0 };
  let left = cuts;
  const over = Promise.withResolvers<void>();
  const load = { isOver: false };
  line.fate = (statements) => {
    if (!statements.includes('insert into journal (')) return 'pass';
    if (left === 0) {
      over.resolve();
      return 'pass';
    }
    left -= 1;
    const fate = left % 2 === 0 ? 'done' : 'not done';
    fates[fate] += 1;
    return fate;
  };
  const statuses = new Map<number, number>();
  const work = Promise.all(
    Array.from({ length: clients }, async () => {
      while (!load.isOver) {
        const { status } = await ask(`${gateway.origin}/v1/chat/completions`, {
          headers: { 'x-api-key': minted.token },
          body: { model: 'gpt-4o' },
        });
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    }),
  );
  await over.promise;
  load.isOver = true;
  await work;
  t.same([...statuses.keys()], [200], 'no call fails');
  t.ok(fates.done >= Math.floor(cuts / 2) && fates['not done'] >= Math.floor(cuts / 2));

  // An act whose outcome nobody hears of happened or not, and the caller is told that it is not known.
  const names = { done: 'kept', 'not done': 'lost' } as const;
  for (const fate of ['done', 'not done'] as const) {
    line.fate = (statements) => (statements.includes('into "acts"') ? fate : 'pass');
    const { status } = await gateway.api('POST', '/tokens', { name: names[fate] });
    t.ok(status >= 500 || status === 201, `${fate}: ${status}`);
  }
  line.fate = () => 'pass';
  await allEnded(gateway.installation.journal);
  const { body: tokens } = await gateway.api('GET', '/tokens?limit=100');
  const made = tokens.data.map(({ name }: { name: string }) => name);
  t.ok(made.includes('kept') && !made.includes('lost'));

  await gateway.shipped();
  const calls = upstream.requests.length;
  const rows = await gateway.database.store.asSystem((tx) =>
    tx.selectFrom('usage_events').select(['call_id']).execute(),
  );
  const hours = await gateway.database.store.asSystem((tx) =>
    tx.selectFrom('usage_hourly').select(['attempts', 'input_tokens']).execute(),
  );
  t.equal(statuses.get(200), calls);
  t.equal(new Set(rows.map((row) => row.call_id)).size, calls);
  t.equal(rows.length, calls);
  t.equal(
    hours.reduce((sum, { attempts }) => sum + Number(attempts), 0),
    calls,
  );
  t.equal(
    hours.reduce((sum, { input_tokens: tokens }) => sum + Number(tokens), 0),
    calls * 3,
  );
  const verdict = await verifyJournal({ dir: gateway.journalDir, store: gateway.database.store });
  t.same(verdict.problems, []);
  t.equal(gateway.installation.shipper.lag().records, 0);
  t.comment(`${calls} calls; ${JSON.stringify(fates)}`);
});
