import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { ask, type Answered } from '../support/http-client.ts';
import { installProduct } from '../support/product.ts';
import { scriptUpstream } from '../support/upstream.ts';

/* One installation with WORKERS=2, and one process tree for most cases: each start costs seconds. */
t.setTimeout(180_000);

const chunk = (content: string): string => JSON.stringify({ choices: [{ index: 0, delta: { content } }] });
const key = `sk-${randomBytes(24).toString('hex')}`;
let goOn = Promise.withResolvers<void>();
const upstream = await scriptUpstream(t, {
  key,
  script: ({ body }) =>
    body.toString().includes('"stream":true')
      ? { events: [chunk('one'), goOn.promise, chunk('two'), '[DONE]'] }
      : { body: { choices: [], usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 } } },
});
const product = await installProduct(t, {
  settings: { SALLYPORT_OPENAI_ORIGIN: upstream.origin, WORKERS: '2', DRAIN_SECONDS: '4' },
});
let gateway = await product.serve();
const first = JSON.parse(readFileSync(path.join(product.dataDir, 'first-start.json'), 'utf8'));

/** Each on a connection of its own: the kernel gives it to one of the workers. */
const call = (token: string = first.token, stream = false): Promise<Answered> =>
  ask(`${gateway.origin}/v1/chat/completions`, {
    headers: { authorization: `Bearer ${token}` },
    body: { model: 'gpt-4o-mini', stream, messages: [] },
  });
const calls = (count: number, token?: string): Promise<Answered[]> =>
  Promise.all(Array.from({ length: count }, () => call(token)));
const count = (answers: readonly Answered[], status: number): number =>
  answers.filter((answer) => answer.status === status).length;
const streamOf = (answer: Answered): string => answer.header('x-sallyport-receipt')?.split('.')[0] ?? '';

async function metric(name: string): Promise<number> {
  const text = (await ask(`${gateway.origin}/metrics`)).body.toString();
  return Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${name} `))
      ?.slice(name.length + 1),
  );
}

/** There is no event for what other processes come to. */
async function until(what: () => Promise<boolean> | boolean): Promise<void> {
  const isSo = async (): Promise<boolean> => what();
  // A connection that a killed worker had not taken yet is reset.
  for (const startedAt = performance.now(); !(await isSo().catch(() => false)); await pause(20))
    if (performance.now() - startedAt > 30_000) throw new Error('it did not come');
}

function workers(): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        const parent = /^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
        return (
          Number(parent) === gateway.pid && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('main.ts')
        );
      } catch {
        return false;
      }
    });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

const answered = 'sallyport_calls_total{provider="openai",operation="openai.chat",outcome="ok"}';
const token = async (limits: object): Promise<{ id: string; token: string }> =>
  (
    await ask(`${gateway.origin}/api/tokens`, {
      headers: { authorization: `Bearer ${first.adminToken}` },
      body: { name: 'limited', ...limits },
    })
  ).json();

t.test(
  'a key that the command line adds is used by both workers, and either tells of all calls',
  async (t) => {
    await product.run(['keys', 'add', '--provider', 'openai', '--name', 'main'], `${key}\n`);
    await until(async () => count(await calls(2), 200) === 2);
    const before = await metric(answered);
    const answers = await calls(40);
    t.equal(count(answers, 200), 40);
    t.equal(new Set(answers.map(streamOf)).size, 2, 'both took some');
    t.same(await Promise.all(Array.from({ length: 4 }, () => metric(answered))), Array(4).fill(before + 40));
    t.equal(await metric('sallyport_workers'), 2);
  },
);

t.test('a token’s limits hold over both workers, exactly', async (t) => {
  const rate = await token({ requestsPerMinute: 6 });
  const startedAt = performance.now();
  const answers = await calls(60, rate.token);
  const more = Math.floor((performance.now() - startedAt) / 10_000);
  t.ok(count(answers, 200) >= 6 && count(answers, 200) <= 6 + more, `${count(answers, 200)} of 6`);
  // 503: where the machine is busy, a new token may have to wait for the database.
  t.ok(answers.every(({ status }) => [200, 429, 503].includes(status)));

  const slots = await token({ concurrentCalls: 5 });
  goOn = Promise.withResolvers();
  const asked = Array.from({ length: 20 }, () => call(slots.token, true));
  let refused = 0;
  for (const one of asked) void one.then(({ status }) => (refused += status === 429 ? 1 : 0));
  await until(() => refused === 15);
  goOn.resolve();
  t.equal(count(await Promise.all(asked), 200), 5);
  t.equal(count(await calls(5, slots.token), 200), 5, 'and are free again');
});

t.test('a token that is revoked is refused by both within a second', async (t) => {
  const gone = await token({});
  await until(async () => count(await calls(6, gone.token), 200) === 6);
  const revoked = await ask(`${gateway.origin}/api/tokens/${gone.id}`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${first.adminToken}` },
  });
  t.match(revoked.status, /^20/);
  const startedAt = performance.now();
  await until(async () => count(await calls(6, gone.token), 401) === 6);
  t.ok(performance.now() - startedAt < 3000, `${Math.round(performance.now() - startedAt)} ms`);
});

t.test('a worker killed under load is replaced, and what it left is settled and counted', async (t) => {
  goOn = Promise.withResolvers();
  const held = Array.from({ length: 24 }, () => call(first.token, true).catch(() => null));
  await until(async () => (await metric('sallyport_streams_held{kind="events"}')) === 24);
  const before = await metric(answered);
  const [victim = 0] = workers();
  process.kill(victim, 'SIGKILL');
  await until(async () => (await metric('sallyport_workers_lost_total')) === 1);
  goOn.resolve();
  const ended = await Promise.all(held);
  const whole = ended.filter((answer) => answer?.isWhole === true).length;
  t.ok(whole > 0 && whole < 24, `${whole} of 24 were the other worker’s, and end as if nothing were`);
  await until(async () => (await metric('sallyport_workers')) === 2);
  t.equal(workers().length, 2);
  t.notOk(workers().includes(victim));
  t.equal(await metric(answered), before + whole, 'no count went with it');
  t.equal(new Set((await calls(24)).map(streamOf)).size, 2);
  const crashed = async (): Promise<number> =>
    (
      await ask(`${gateway.origin}/api/usage/calls?limit=200`, {
        headers: { authorization: `Bearer ${first.adminToken}` },
      })
    )
      .json()
      .data.filter((item: { outcome: string }) => item.outcome === 'crash').length;
  await until(async () => (await crashed()) === 24 - whole);
  t.match(await product.run(['journal', 'verify']), { ok: true, openCalls: 0 });
});

t.test('workers end with a primary that is killed, and the next start finds all in order', async (t) => {
  goOn = Promise.withResolvers();
  const held = Array.from({ length: 4 }, () => call(first.token, true).catch(() => null));
  await until(async () => (await metric('sallyport_streams_held{kind="events"}')) === 4);
  const orphans = workers();
  gateway.signal('SIGKILL');
  await gateway.ended;
  await until(() => !orphans.some(isAlive));
  t.ok((await Promise.all(held)).every((answer) => answer?.isWhole !== true));
  goOn.resolve();
  gateway = await product.serve();
  t.equal(count(await calls(4), 200), 4);
  gateway.signal('SIGTERM');
  t.equal(await gateway.ended, 0);
  t.match(await product.run(['journal', 'verify']), { ok: true, openCalls: 0 });
});
