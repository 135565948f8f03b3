import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { type SocketConnection, withClient } from '../../src/db/connection.ts';
import { startEmbedded } from '../../src/db/embedded.ts';
import { mayBePostgres } from '../../src/db/embedded-pidfile.ts';
import { maintenanceOf, runningDatabase } from '../../src/db/embedded-running.ts';
import { ask } from '../support/http-client.ts';
import { installProduct } from '../support/product.ts';
import { scriptUpstream } from '../support/upstream.ts';
import { readPidFile } from './books.ts';

t.setTimeout(120_000);

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
  settings: { SALLYPORT_OPENAI_ORIGIN: upstream.origin, DRAIN_SECONDS: '4' },
});
const { token } = await product.run(['init']);
await product.run(['keys', 'add', '--provider', 'openai', '--name', 'main'], `${key}\n`);

/** A gateway with one streamed answer under way, of which the client has the first event. */
async function streamUnderWay() {
  goOn = Promise.withResolvers<void>();
  const gateway = await product.serve();
  const database = readPidFile(path.join(product.dataDir, 'postgres'))?.pid ?? 0;
  const call = () =>
    fetch(`${gateway.origin}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'gpt-4o-mini', stream: true, messages: [] }),
    });
  const answer = await call();
  const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder();
  let text = '';
  while (!text.includes('one')) text += decoder.decode((await reader.read()).value, { stream: true });
  /** All of the answer, when it has ended or broken. */
  const rest = async (): Promise<string> => {
    for (;;) {
      const part = await reader.read().catch(() => null);
      if (part === null || part.done) return text;
      text += decoder.decode(part.value, { stream: true });
    }
  };
  return { gateway, database, goOn: goOn.resolve, rest };
}

type Stage = Awaited<ReturnType<typeof streamUnderWay>>;

async function endsClean(t: Test, { gateway, database }: Stage): Promise<void> {
  t.equal(await gateway.ended, 0, 'it exits with 0');
  t.throws(() => process.kill(gateway.pid, 0), { code: 'ESRCH' });
  t.throws(() => process.kill(database, 0), { code: 'ESRCH' }, 'and its database with it');
  t.notOk(existsSync(path.join(product.dataDir, 'run', 'admin.sock')));
  t.match(await product.run(['journal', 'verify']), { ok: true, openCalls: 0 });
}

for (const name of ['SIGINT', 'SIGTERM'] as const)
  t.test(`after ${name} an answer that is under way may end by itself`, async (t) => {
    const stage = await streamUnderWay();
    stage.gateway.signal(name);
    await untilRefused(stage.gateway.origin);
    stage.goOn();
    const text = await stage.rest();
    t.ok(text.includes('two') && text.includes('[DONE]'), 'it ended whole');
    const startedAt = performance.now();
    await endsClean(t, stage);
    t.ok(performance.now() - startedAt < 10_000, 'in seconds');
  });

t.test('after a second signal answers under way are ended by an error event, at once', async (t) => {
  const stage = await streamUnderWay();
  const startedAt = performance.now();
  stage.gateway.signal('SIGINT');
  await untilRefused(stage.gateway.origin);
  stage.gateway.signal('SIGINT');
  const text = await stage.rest();
  t.notOk(text.includes('[DONE]'), 'it does not look whole');
  t.match(text, /data: \{"error":.*SHUTTING_DOWN/);
  t.equal(await stage.gateway.ended, 0);
  t.ok(performance.now() - startedAt < 5_000, 'it ends within 5 s');
  await endsClean(t, stage);
});

t.test('after one signal an answer that never ends is ended by an error event, in seconds', async (t) => {
  const stage = await streamUnderWay();
  const startedAt = performance.now();
  stage.gateway.signal('SIGTERM');
  const text = await stage.rest();
  t.notOk(text.includes('[DONE]'), 'it does not look whole');
  t.match(text, /data: \{"error":.*SHUTTING_DOWN/);
  t.equal(await stage.gateway.ended, 0);
  t.ok(performance.now() - startedAt < 15_000, 'it ends within 15 s');
  await endsClean(t, stage);
});

t.test('an embedded database that is killed comes back, and calls go on meanwhile', async (t) => {
  const gateway = await product.serve();
  const { dataDir } = product;
  async function call(): Promise<void> {
    const answer = await ask(`${gateway.origin}/v1/chat/completions`, {
      headers: { authorization: `Bearer ${token}` },
      body: { model: 'gpt-4o' },
    });
    t.equal(answer.status, 200, answer.body.toString());
  }
  async function untilBack(times: number): Promise<void> {
    for (;;) {
      const { body } = await ask(`${gateway.origin}/readyz`);
      const metrics = (await ask(`${gateway.origin}/metrics`)).body.toString();
      const isBack = metrics.includes(`sallyport_database_restarts_total ${times}\n`);
      if (isBack && body.toString().includes('"ready"')) return;
      await call();
      await pause(50);
    }
  }
  const server = (): number => readPidFile(path.join(dataDir, 'postgres'))?.pid ?? 0;

  await call();
  const first = server();
  process.kill(first, 'SIGKILL');
  for (let n = 0; n < 5; n += 1) await call();
  await untilBack(1);
  const second = server();
  t.not(second, first);

  // The server stays, throws everybody out and recovers; with the sessions the lock of the data directory is gone.
  const maintenance = maintenanceOf(runningDatabase(dataDir) as SocketConnection);
  const writer = await withClient(maintenance, async (client) => {
    const { rows } = await client.query<{ pid: number }>(
      "select pid from pg_stat_activity where backend_type = 'walwriter'",
    );
    return rows[0]?.pid ?? 0;
  });
  process.kill(writer, 'SIGKILL');
  await untilBack(2);
  t.equal(server(), second);
  await t.rejects(
    startEmbedded({ dataDir }),
    { message: /A gateway already runs/ },
    'the lock is held again',
  );

  // A stop while it is down: what is on disk the next start ships.
  process.kill(second, 'SIGKILL');
  await call();
  gateway.signal('SIGTERM');
  t.equal(await gateway.ended, 0);
  t.notOk(mayBePostgres(server()), 'no server is left');
  t.match(await product.run(['journal', 'verify']), { ok: true, openCalls: 0 });
});

/** Resolves when nobody new is let in: the signal has arrived. */
async function untilRefused(origin: string): Promise<void> {
  for (;;) {
    const status = await fetch(`${origin}/readyz`).then(
      async (response) => (await response.arrayBuffer(), response.status),
      () => 0,
    );
    if (status !== 200) return;
  }
}
