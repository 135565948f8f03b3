import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { withClient } from '../src/db/connection.ts';
import { startEmbedded } from '../src/db/embedded.ts';
import { startBalancer } from '../test/product/balancer.ts';
import { models, startLoad } from '../test/product/steady-load.ts';
import { installProduct, type Serving } from '../test/support/product.ts';
import { scriptUpstream } from '../test/support/upstream.ts';

// Two gateways on one PostgreSQL behind a load balancer that tries nothing twice; each is restarted in turn under load. Exits 1 when
// a call failed, or the books are not right in the end.
const { values } = parseArgs({ options: { rounds: { type: 'string', default: '20' } } });
const rounds = Number(values.rounds);
const key = 'sk-proj-abcdefghijklmnopqrstuvwxyz0123456789';
const ends: (() => unknown)[] = [];
const run = { teardown: (end: () => unknown) => void ends.push(end) };
const say = (line: string): boolean => process.stdout.write(`${line}\n`);
const wrongs: string[] = [];

try {
  const folder = mkdtempSync(path.join(tmpdir(), 'sallyport-rolling-'));
  chmodSync(folder, 0o711);
  run.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const database = await startEmbedded({ dataDir: path.join(folder, 'data') });
  run.teardown(() => database.stop());
  const upstream = await scriptUpstream(run, {
    key,
    script({ body }) {
      const { model } = JSON.parse(body.toString()) as { model: keyof typeof models };
      const { ms, pieces } = models[model];
      if (pieces === 0) return pause(ms).then(() => ({ body: { choices: [] } }));
      const startedAt = performance.now();
      // Each waits for its own moment, counted from now.
      const piece = (n: number): [Promise<unknown>, string] => [
        pause(Math.max(0, startedAt + (n * ms) / pieces - performance.now())),
        `{"choices":[],"n":${n}}`,
      ];
      return { events: [...Array.from({ length: pieces }, (_, n) => piece(n)).flat(), '[DONE]'] };
    },
  });
  const settings = {
    DATABASE_URL: `postgresql://sallyport@localhost/sallyport?host=${encodeURIComponent(database.connection.host)}`,
    SALLYPORT_OPENAI_ORIGIN: upstream.origin,
    SHUTDOWN_DELAY_SECONDS: '2',
  };
  const first = await installProduct(run, { settings });
  const { token, adminToken } = await first.run(['init']);
  await first.run(['keys', 'add', '--provider', 'openai', '--name', 'main'], `${key}\n`);
  const ring = readFileSync(path.join(first.dataDir, 'keyring.json'), 'utf8');
  const nodes = [
    first,
    await installProduct(run, { settings: { ...settings, SALLYPORT_KEYRING: ring } }),
  ].map((product) => ({ product, serving: null as Serving | null }));
  for (const node of nodes) node.serving = await node.product.serve();
  const origins = nodes.map(({ serving }) => serving?.origin ?? '');
  const balancer = await startBalancer(run, origins);
  for (const origin of origins) await balancer.seen(origin, true);

  const response = await fetch(`${origins[0]}/api/tokens`, {
    method: 'POST',
    headers: { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'load', requestsPerMinute: 1_000_000, concurrentCalls: 100 }),
  });
  const minted = (await response.json()) as { token?: string };
  const load = startLoad(balancer.origin, minted.token ?? token);

  for (let round = 1; round <= rounds; round += 1) {
    const before = { done: load.done(), failed: load.failed.length };
    const times: string[] = [];
    for (const node of nodes) {
      const serving = node.serving as Serving;
      const startedAt = performance.now();
      serving.signal('SIGTERM');
      const code = await serving.ended;
      if (code !== 0) wrongs.push(`round ${round}: a gateway ended with ${code}`);
      const stopMs = performance.now() - startedAt;
      node.serving = await node.product.serve();
      times.push(`stop ${(stopMs / 1000).toFixed(1)} s, start ${(node.serving.readyMs / 1000).toFixed(1)} s`);
      await balancer.seen(serving.origin, true);
      await pause(500);
    }
    const failed = load.failed.slice(before.failed);
    say(`round ${round}: ${times.join('; ')}; ${load.done() - before.done} calls, ${failed.length} failed`);
    for (const each of failed.slice(0, 10)) say(`  FAILED ${each}`);
  }
  await load.stop();
  for (const { serving } of nodes) {
    serving?.signal('SIGTERM');
    await serving?.ended;
  }

  const verdict = await first.run(['journal', 'verify']);
  if (verdict.ok !== true || verdict.openCalls !== 0)
    wrongs.push(`journal verify: ${JSON.stringify(verdict)}`);
  const usage = await withClient(
    { ...database.maintenance, database: database.connection.database },
    (client) =>
      client.query<{ calls: number }>('select count(distinct call_id)::int as calls from usage_events'),
  );
  const ended = usage.rows[0]?.calls;
  if (ended !== upstream.requests.length || ended !== load.done() + load.failed.length)
    wrongs.push(
      `${ended} calls on record, ${upstream.requests.length} at the provider, ${load.done()} answered`,
    );
  for (const wrong of wrongs) say(`WRONG: ${wrong}`);
  say(
    `${rounds} rounds: ${load.done()} calls, ${load.failed.length} failed; ${ended} on record, the journal verified`,
  );
  process.exitCode = wrongs.length + load.failed.length === 0 ? 0 : 1;
} finally {
  for (const end of ends.toReversed()) await end();
}
