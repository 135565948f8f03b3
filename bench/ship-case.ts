import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { startEmbedded } from '../src/db/embedded.ts';
import { migrate } from '../src/db/migrate.ts';
import { openStore } from '../src/db/store.ts';
import { newId } from '../src/ids.ts';
import { type Journal, openJournal } from '../src/journal/journal.ts';
import { createShipper } from '../src/journal/shipper.ts';
import { cpuTimeOf } from './cpu-time.ts';

export interface ShipResult {
  readonly records: number;
  readonly bytes: number;
  readonly seconds: number;
  /** Of CPU time: this process, and PostgreSQL. */
  readonly own: number;
  readonly postgres: number;
  /** Milliseconds that the event loop stood still at the most. */
  readonly worstDelayMs: number;
  /** MiB that the heap and the buffers beside it had at the most. */
  readonly memoryMiB: number;
}

/** Two records of a call, with the fields that the gateway writes. */
async function call(journal: Journal, n: number): Promise<void> {
  const startedAt = new Date().toISOString();
  const use = {
    callId: newId('call'),
    attempt: 1,
    startedAt,
    workspaceId: 'ws_01',
    tokenId: `tok_${n % 100}`,
    userId: `usr_${n % 50}`,
    keyId: `key_${n % 20}`,
    keyVersion: 1,
    keySource: 'own',
    provider: 'openai',
    operation: 'openai.chat',
    model: n % 3 === 0 ? 'gpt-4o' : 'gpt-4o-mini',
    isStream: true,
  };
  const receipt = await journal.append('use.begin', {
    ...use,
    protection: 'standard',
    origin: 'https://api.openai.com',
    clientIpHash: 'c0ffeec0ffeec0ff',
    reservedNanoUsd: '1250000',
  });
  await journal.append('use.end', {
    ...use,
    final: true,
    beginSeq: receipt.seq,
    beginStream: receipt.stream,
    receipt: receipt.text,
    endedAt: new Date().toISOString(),
    outcome: 'ok',
    status: 200,
    endReason: 'complete',
    upstreamRequestId: `req_${n}`,
    firstByteMs: 12.5,
    totalMs: 250.25,
    requestBytes: 1000,
    responseBytes: 2000,
    usage: {
      inputTokens: 10,
      cachedInputTokens: 4,
      cacheWriteInputTokens: null,
      outputTokens: 20,
      reasoningTokens: null,
    },
    usageSource: 'provider',
    providerUsage: { prompt_tokens: 10, completion_tokens: 20, total_tokens: 30 },
    costNanoUsd: '125000',
    priceVersion: '2026-11-01',
  });
}

/** Writes so many records while nothing ships, then ships them into an embedded database as the product sets it up. */
export async function measureShipping(count: number): Promise<ShipResult> {
  const dataDir = mkdtempSync(path.join(tmpdir(), 'sallyport-bench-'));
  const embedded = await startEmbedded({ dataDir });
  const store = openStore({ connection: embedded.connection });
  try {
    await migrate(embedded.connection);
    const dir = path.join(dataDir, 'journal');
    const journal = await openJournal({
      dir,
      nodeId: 'bench',
      bootId: newId('act'),
      sync: 'relaxed',
      maxBytes: 64 * 1024 ** 3,
      clock: Date.now,
    });
    for (let n = 1; n < count; n += 2000)
      await Promise.all(
        Array.from({ length: Math.min(1000, (count - n) / 2) }, (_, i) => call(journal, n + i)),
      );
    const shipper = createShipper({ store, journal, clock: Date.now });
    const { bytes, records } = shipper.lag();
    const delay = monitorEventLoopDelay({ resolution: 1 });
    const memory = { most: 0 };
    const watch = setInterval(() => {
      const { arrayBuffers, heapUsed } = process.memoryUsage();
      memory.most = Math.max(memory.most, heapUsed + arrayBuffers);
    }, 50);
    const before = cpuTimeOf(process.pid);
    const since = performance.now();
    delay.enable();
    await shipper.flush();
    delay.disable();
    const seconds = (performance.now() - since) / 1000;
    const after = cpuTimeOf(process.pid);
    clearInterval(watch);
    await shipper.stop();
    await journal.close();
    return {
      records,
      bytes,
      seconds,
      own: (after?.own ?? Number.NaN) - (before?.own ?? 0),
      postgres: (after?.postgres ?? Number.NaN) - (before?.postgres ?? 0),
      worstDelayMs: delay.max / 1e6,
      memoryMiB: memory.most / 1024 ** 2,
    };
  } finally {
    await store.close();
    await embedded.stop();
    rmSync(dataDir, { recursive: true, force: true });
  }
}
