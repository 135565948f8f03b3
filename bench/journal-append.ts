import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { beginFields, endFields, type UseIdentity } from '../src/gateway/use-record.ts';
import type { Target } from '../src/gateway/target.ts';
import { newId } from '../src/ids.ts';
import { type Fields, openJournal, type Receipt } from '../src/journal/journal.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';
import { spreadOf, spreadText } from './spread.ts';

/**
 * `node bench/journal-append.ts [rounds] [ms] [concurrency]`: CPU time of a call's two records, of all threads, in a loop that does nothing
 * else: what one change to the journal moves, where bench/journal.ts needs a machine of its own. `off` makes the same fields and forgets
 * them. A gateway's caches are colder: there the difference is up to twice as large.
 */
const [rounds, ms, concurrency] = [9, 500, 64].map((value, i) => Number(process.argv[i + 2] ?? value)) as [
  number,
  number,
  number,
];
type Append = (event: string, fields: Fields) => Promise<Receipt>;

const id = (prefix: 'ws' | 'tok' | 'usr' | 'key'): string => newId(prefix);
const identity: Omit<UseIdentity, 'callId'> = {
  workspaceId: id('ws'),
  tokenId: id('tok'),
  userId: id('usr'),
  keyId: id('key'),
  keyVersion: 1,
  keySource: 'own',
  keyFingerprint: 'a1b2c3d4e5f60718',
  provider: 'openai',
  operation: 'openai.chat',
  model: 'gpt-4o-mini',
  upstreamModel: 'gpt-4o-mini',
  isStream: false,
};
const target = { origin: 'https://api.openai.com', key: { protection: 'standard' } } as Target;
const client = { clientIpHash: 'c0ffeec0ffeec0ff', network: '0ff1ce0ff1ce0ff1' };
const answer = `{"prompt_tokens":812,"completion_tokens":120,"total_tokens":932,
  "prompt_tokens_details":{"cached_tokens":512,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}}`;

async function call(append: Append, n: number): Promise<void> {
  const use = { callId: newId('call'), ...identity };
  const startedAtMs = Date.now();
  const begin = await append('use.begin', beginFields(use, target, 1, startedAtMs, client));
  const end = endFields(use, 1, begin, {
    final: true,
    outcome: 'ok',
    endReason: 'complete',
    status: 200,
    upstreamRequestId: `req_${n}`,
    startedAtMs,
    endedAtMs: startedAtMs + 3,
    firstByteMs: 2,
    requestBytes: 400,
    responseBytes: 800,
    reading: {
      usage: {
        inputTokens: 812,
        cachedInputTokens: 512,
        cacheWriteInputTokens: null,
        outputTokens: 120,
        reasoningTokens: 0,
      },
      usageSource: 'provider',
      providerUsage: JSON.parse(answer),
      billed: {},
      errorInBand: null,
      model: null,
      isComplete: true,
    },
    billed: {},
    cost: { nanoUsd: 125_000n, version: '2026-11-01' },
  });
  // Nobody waits for an end.
  void append('use.end', end);
}

/** µs of CPU a call. */
async function measure(append: Append): Promise<number> {
  const until = performance.now() + ms;
  const before = process.cpuUsage();
  let calls = 0;
  const one = async (): Promise<void> => {
    while (performance.now() < until) {
      calls += 1;
      await call(append, calls);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, one));
  const { system, user } = process.cpuUsage(before);
  return (system + user) / calls;
}

const folder = await mkdtemp(path.join(tmpdir(), 'sallyport-bench-'));
try {
  const metrics = createMetrics({ version: 'bench', node: process.version });
  const journal = await openJournal({
    dir: path.join(folder, 'journal'),
    nodeId: 'bench',
    bootId: newId('act'),
    sync: 'strict',
    maxBytes: 64 * 1024 ** 3,
    clock: Date.now,
    onAppended: (event, seconds) => metrics.journalAppended(event, seconds),
  });
  const receipt: Receipt = { stream: journal.stream, seq: 0, hash: '0'.repeat(64), text: journal.stream };
  const off: Append = () => setImmediate(receipt);
  const strict: Append = (event, fields) => journal.append(event, fields);
  const found: { off: number; strict: number }[] = [];
  for (let round = -2; round < rounds; round += 1) {
    const one = { off: await measure(off), strict: await measure(strict) };
    // The first ones are the compiler's.
    if (round >= 0) found.push(one);
  }
  await journal.close();
  process.stdout.write(
    `${spreadText(spreadOf(found.map((one) => one.strict - one.off)), 1)} µs of CPU a call, beside ${spreadText(spreadOf(found.map((one) => one.off)), 1)} for its fields; ${concurrency} calls at once, ${rounds} rounds of ${ms} ms, load ${loadavg()[0]?.toFixed(1)}\n`,
  );
} finally {
  await rm(folder, { recursive: true, force: true });
}
