import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { createMetrics, type EndedCall } from '../../src/telemetry/metrics.ts';
import { codeRows, codeWords, page, root } from './pages.ts';

const call: EndedCall = {
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
};
const cache = { entries: 1, hits: 2, misses: 1 };

/** What comes behind them are alerts. */
const metricsOf = (text: string): string => text.split('## Worth an alert')[0] ?? '';

/** Everything that is counted, counted once: labels show only in samples. */
async function exposition(): Promise<string> {
  const metrics = createMetrics({ version: '1', node: 'v26' });
  metrics.callStarted('openai');
  metrics.callEnded(call);
  metrics.callEnded({ ...call, costNanoUsd: null });
  metrics.attemptEnded('openai', 1, 0.5);
  metrics.refused('RATE_LIMITED');
  metrics.setResources({
    streams: { events: 1, websockets: 0 },
    upstream: { busy: 1, idle: 1, opened: 2 },
    database: { busy: 0, idle: 1, waiting: 0 },
    caches: { callers: cache, workspace_keys: cache, data_keys: cache },
    targetsCooling: 0,
    epochAgeMs: 250,
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
  const told = codeRows(metricsOf(page('docs/metrics.md'))).map(([name = '', type = '', , labels = '']) => ({
    name: codeWords(name)[0],
    type,
    labels: codeWords(labels),
  }));
  const byName = (a: { name?: string | undefined }, b: { name?: string | undefined }) =>
    (a.name ?? '') < (b.name ?? '') ? -1 : 1;
  t.same(told.toSorted(byName), counted.toSorted(byName));
});

t.test('units are those that the names say, and counters are called totals', async (t) => {
  for (const [name = '', type = '', unit = ''] of codeRows(metricsOf(page('docs/metrics.md')))) {
    const [metric = ''] = codeWords(name);
    const base = metric.replace(/_total$/, '');
    t.equal(base !== metric, type === 'counter', `${metric} is a ${type}`);
    const said = /_(seconds|bytes|nano_usd)$/.exec(base)?.[1];
    const wanted = said === 'nano_usd' ? '10⁻⁹ US dollars' : said;
    if (wanted === undefined) t.notMatch(unit, /second|byte|dollar/, metric);
    else t.equal(unit.replace(/ since 1970$/, ''), wanted, metric);
  }
});

t.test('rules and dashboards name metrics that exist', async (t) => {
  const text = await exposition();
  const names = new Set(
    [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].flatMap(([, name = '', type]) =>
      type === 'histogram' ? [name, `${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
    ),
  );
  for (const folder of ['docker/prometheus', 'docker/grafana/dashboards'])
    for (const file of readdirSync(path.join(root, folder))) {
      const said = readFileSync(path.join(root, folder, file), 'utf8');
      for (const [name] of said.matchAll(/\b(sallyport|gen_ai|process|nodejs)_[a-z_0-9]+\b(?![:"])/g))
        if (!name.startsWith('gen_ai_') || name.startsWith('gen_ai_client_'))
          t.ok(names.has(name), `${file}: ${name}`);
    }
});
