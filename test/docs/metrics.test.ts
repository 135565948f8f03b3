import t from 'tap';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { codeRows, codeWords, page } from './pages.ts';

/** Everything that is counted, counted once: labels show only in samples. */
async function exposition(): Promise<string> {
  const metrics = createMetrics({ version: '1', node: 'v26' });
  metrics.callStarted('openai');
  metrics.callEnded({
    provider: 'openai',
    operation: 'openai.chat',
    outcome: 'ok',
    model: 'gpt-4o',
    seconds: 1,
    firstChunkSeconds: 0.5,
    overheadSeconds: 0.001,
    usage: {
      inputTokens: 5,
      cachedInputTokens: 1,
      cacheWriteInputTokens: 1,
      outputTokens: 3,
      reasoningTokens: 1,
    },
    isUsageUnknown: true,
    costNanoUsd: '1',
  });
  metrics.retried('openai', 'stale_socket');
  metrics.keyOpened('openai', true);
  metrics.keyEchoed('custom');
  metrics.authRefused('AUTH_INVALID');
  metrics.setUndecryptableKeys(0);
  metrics.setKeys({ active: 1 });
  metrics.journalAppended('use.begin', 0.001);
  metrics.journalGate(false);
  metrics.setJournalLag({ records: 0, bytes: 0, seconds: 0 });
  metrics.setVerifyProblems(0);
  metrics.rootKeyUsed('kms', 'ok');
  metrics.rewrapProgress({ remaining: 1, more: 1 });
  return metrics.text();
}

t.test('docs/metrics.md lists every metric with its type and labels, and no other', async (t) => {
  const text = await exposition();
  const counted = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type = '']) => {
    const sample = new RegExp(`^${name}(?:_count)?(?:\\{(.*)\\})? `, 'm').exec(text);
    t.ok(sample, `${name} has a sample`);
    const labels = [...(sample?.[1] ?? '').matchAll(/(\w+)="/g)].map((match) => match[1] as string);
    return { name, type, labels };
  });
  const told = codeRows(page('docs/metrics.md')).map(([name = '', type = '', labels = '']) => ({
    name: codeWords(name)[0],
    type,
    labels: codeWords(labels),
  }));
  const byName = (a: { name?: string | undefined }, b: { name?: string | undefined }) =>
    (a.name ?? '') < (b.name ?? '') ? -1 : 1;
  t.same(told.toSorted(byName), counted.toSorted(byName));
});

t.test('what is worth an alert names metrics that exist', async (t) => {
  const text = await exposition();
  for (const name of page('docs/metrics.md').match(/\bsallyport_\w+/g) ?? [])
    t.match(text, new RegExp(`^# TYPE ${name} `, 'm'), name);
});
