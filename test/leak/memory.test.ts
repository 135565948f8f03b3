import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { Agent } from 'node:http';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { connectProxy } from '../support/connect-proxy.ts';
import { installProduct } from '../support/product.ts';
import { renewedCa } from '../support/tls-files.ts';
import { testCa } from '../support/upstream.ts';
import { ask, askMany, openSessions } from './calls.ts';
import { chatUpstream } from './chat-upstream.ts';
import { formsOf, type Pattern } from './forms.ts';
import { searchFolder, searchSaid } from './file-search.ts';
import { cannotReadMemory, searchMemory } from './memory-search.ts';
import { stringHeaderTree } from './string-header-tree.ts';

// Seconds on two cores; this much for a machine that does other work beside.
t.setTimeout(300_000);

const parallel = 50;
const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';

function randomText(length: number): string {
  return Array.from({ length }, () => digits[randomInt(digits.length)]).join('');
}

/**
 * A gateway that three keys were stored for by other processes before it started, and its providers. The second is reached through the
 * operator's proxy. The third is a custom origin, whose answers are searched for the key: it waits, masked, for as long as they last.
 */
async function startStage(t: Test, root?: string) {
  // Two lengths, as they are in use: memory of up to 64 bytes lives elsewhere than longer one.
  const keys = {
    openai: `sk-${randomText(48)}`,
    groq: `gsk_${randomText(160)}`,
    custom: `lab-${randomText(60)}`,
  };
  const upstreams = {
    openai: await chatUpstream(t, keys.openai),
    groq: await chatUpstream(t, keys.groq, 'renewed'),
    custom: await chatUpstream(t, keys.custom),
  };
  const proxy = await connectProxy(t, {
    routes: new Map([['groq.example.com:443', upstreams.groq.port]]),
  });
  const caFile = path.join(t.testdir({ 'ca.pem': testCa + renewedCa }), 'ca.pem');
  const product = await installProduct(t, {
    ...(root === undefined ? {} : { root }),
    settings: {
      NODE_EXTRA_CA_CERTS: caFile,
      SALLYPORT_OPENAI_ORIGIN: upstreams.openai.origin,
      SALLYPORT_GROQ_ORIGIN: 'https://groq.example.com',
      EGRESS_PROXY: proxy.url,
      SALLYPORT_ALLOW_ORIGINS: upstreams.custom.origin,
    },
  });
  await product.run(['init']);
  for (const [provider, key] of Object.entries(keys)) {
    const place =
      provider === 'custom' ? ['--name', 'lab', '--origin', upstreams.custom.origin] : ['--name', provider];
    await product.run(['keys', 'add', '--provider', provider, ...place], `${key}\n`);
  }
  const { id: tokenId, token } = await product.run(
    'tokens create --name app --requests-per-minute 1000000 --concurrent-calls 1000'.split(' '),
  );
  const gateway = await product.serve();
  const target = {
    origin: gateway.origin,
    token,
    models: ['gpt-4o-mini', 'groq/llama-3.1-8b-instant', 'lab/llama'],
  };
  const patterns = Object.entries(keys).flatMap(([provider, key]) => formsOf(provider, key));
  return { product, upstreams, gateway, target, patterns, tokenId: tokenId as string };
}

/** Resolves when the metrics say that no call is under way. */
async function untilIdle(origin: string): Promise<void> {
  for (; ; await pause(20)) {
    const text = await (await fetch(`${origin}/metrics`)).text();
    const counts = text.match(/^sallyport_calls_in_flight.* (\d+)$/gm) ?? [];
    if (counts.every((line) => line.endsWith(' 0'))) return;
  }
}

t.test(
  'a key is found in every form in which a program may hold it (positive control)',
  { skip: cannotReadMemory },
  async (t) => {
    const key = `sk-${randomText(48)}`;
    const holder = spawn(process.execPath, [fileURLToPath(new URL('holder.ts', import.meta.url))], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: {},
    });
    holder.stdin.end(key);
    await once(holder.stdout, 'data');
    const { found } = searchMemory(holder.pid ?? 0, formsOf('key', key));
    holder.kill();
    await once(holder, 'exit');
    t.same(
      Object.keys(found).toSorted(),
      formsOf('key', key)
        .map(({ name }) => name)
        .toSorted(),
    );
  },
);

t.test(
  'after 2 000 calls no copy of a key is left in the gateway, nor in anything that it wrote',
  { skip: cannotReadMemory },
  async (t) => {
    const { product, upstreams, gateway, target, patterns, tokenId } = await startStage(t);
    const marker = `gpt-4o-${randomText(24)}`;
    const markers: readonly Pattern[] = [
      { name: 'model', bytes: Buffer.from(marker) },
      { name: 'token id', bytes: Buffer.from(tokenId) },
    ];

    const startedAt = performance.now();
    await askMany(target, { calls: 2000, parallel });
    t.comment(`2 000 calls in ${Math.round(performance.now() - startedAt)} ms`);

    // Over a custom origin's sessions the key is looked for as long as they last.
    const sessions = await openSessions(target, parallel);
    const goOn = Object.values(upstreams).map((upstream) => upstream.stall());
    const seen = Object.values(upstreams).map((upstream) => upstream.requests.length);
    const agent = new Agent({ maxSockets: parallel });
    t.teardown(() => agent.destroy());
    const stalled = Array.from({ length: parallel }, (_, n) =>
      ask(agent, {
        ...target,
        model: [marker, 'groq/llama-3.1-8b-instant', 'lab/llama'][n % 3] as string,
        isStream: n % 2 === 0,
      }),
    );
    await Promise.all(
      Object.values(upstreams).map((upstream, n) =>
        upstream.received((seen[n] ?? 0) + Math.floor(parallel / 3)),
      ),
    );
    const busy = searchMemory(gateway.pid, [...patterns, ...markers]);
    for (const release of goOn) release();
    t.ok((await Promise.all(stalled)).every(({ status }) => status === 200));
    const { model, 'token id': held, ...leaked } = busy.found;
    t.same(leaked, {}, `${busy.bytes >> 20} MiB with ${parallel} calls in flight`);
    t.ok(model, 'a string of the calls in flight is found (positive control)');
    t.ok(held, 'a string that the gateway keeps is found (positive control)');

    for (const session of sessions) session.close();
    await untilIdle(gateway.origin);
    const idle = searchMemory(gateway.pid, [...patterns, ...markers]);
    const { model: _model, 'token id': stillHeld, ...left } = idle.found;
    t.same(left, {}, `${idle.bytes >> 20} MiB idle`);
    t.ok(stillHeld, 'a string that the gateway keeps is found (positive control)');

    gateway.signal('SIGTERM');
    t.equal(await gateway.ended, 0);
    const files = searchFolder(product.dataDir, [...patterns, ...markers]);
    const { model: journalled, 'token id': stored, ...written } = files.found;
    t.same(written, {}, `${files.files} files, ${files.bytes >> 20} MiB of database, journal and settings`);
    t.ok(journalled && stored, 'what was written is found (positive control)');
    t.same(searchSaid(product.said, patterns), {}, 'nothing was said');
  },
);

t.test(
  'a build that sends the header as a string is caught (positive control)',
  { skip: cannotReadMemory },
  async (t) => {
    const { gateway, target, patterns } = await startStage(t, stringHeaderTree(t));
    await askMany(target, { calls: 500, parallel });
    await untilIdle(gateway.origin);
    const { found } = searchMemory(gateway.pid, patterns);
    t.ok((found['openai raw middle'] ?? 0) > 0, `${found['openai raw middle']} copies of one key`);
    t.ok((found['groq raw middle'] ?? 0) > 0, `${found['groq raw middle']} copies of the other`);
  },
);
