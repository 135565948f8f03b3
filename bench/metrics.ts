import { createMetrics } from '../src/telemetry/metrics.ts';

/** What a call's metrics cost in CPU time, in a tight loop: `node bench/metrics.ts`. */
const metrics = createMetrics({ version: '1', node: process.version });
const call = {
  provider: 'openai',
  operation: 'openai.chat',
  outcome: 'ok',
  model: 'gpt-4o-mini-2024-07-18',
  listedModel: 'gpt-4o-mini',
  seconds: 1.5,
  firstChunkSeconds: 0.03,
  overheadSeconds: 0.0002,
  usage: {
    inputTokens: 10,
    cachedInputTokens: 4,
    cacheWriteInputTokens: 0,
    outputTokens: 7,
    reasoningTokens: 2,
  },
  isUsageUnknown: false,
  costNanoUsd: '5700',
} as const;

function measure(name: string, work: () => void): void {
  const rounds = 1_000_000;
  for (let i = 0; i < rounds / 10; i += 1) work();
  const before = process.cpuUsage();
  for (let i = 0; i < rounds; i += 1) work();
  const { user, system } = process.cpuUsage(before);
  const us = (user + system) / rounds;
  process.stdout.write(`${name}: ${us.toFixed(2)} µs\n`);
}

measure('a call, from begin to end', () => {
  metrics.callStarted('openai');
  metrics.attemptEnded('openai', 1.4, 0.03);
  metrics.callEnded(call);
});
measure('its attempt alone', () => metrics.attemptEnded('openai', 1.4, 0.03));
measure('its key’s opening', () => metrics.keyOpened('openai', true));
measure('its two journal records', () => {
  metrics.journalAppended('use.begin', 0.001);
  metrics.journalAppended('use.end', 0.001);
});
