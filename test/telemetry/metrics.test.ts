import t from 'tap';
import { providers } from '../../src/providers/catalogue.ts';
import { type EndedCall, createMetrics } from '../../src/telemetry/metrics.ts';

const call: EndedCall = {
  provider: 'openai',
  operation: 'openai.chat',
  outcome: 'ok',
  model: 'gpt-4o-mini-2024-07-18',
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
};

async function lines(metrics: ReturnType<typeof createMetrics>): Promise<string[]> {
  return (await metrics.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
}

t.test('a call is counted under the names and labels of the wire contract', async (t) => {
  const metrics = createMetrics({ version: '1.2.3', node: '26.10.0' });
  metrics.callStarted('openai');
  metrics.callStarted('openai');
  metrics.callEnded(call);
  const text = await lines(metrics);
  const genAi =
    'gen_ai_provider_name="openai",gen_ai_operation_name="chat",gen_ai_request_model="gpt-4o-mini"';
  for (const line of [
    'sallyport_calls_total{provider="openai",operation="openai.chat",outcome="ok"} 1',
    'sallyport_calls_in_flight{provider="openai"} 1',
    'sallyport_tokens_total{provider="openai",model="gpt-4o-mini",type="input"} 10',
    'sallyport_tokens_total{provider="openai",model="gpt-4o-mini",type="cached_input"} 4',
    'sallyport_tokens_total{provider="openai",model="gpt-4o-mini",type="output"} 7',
    'sallyport_cost_nano_usd_total{provider="openai",model="gpt-4o-mini"} 5700',
    `gen_ai_client_token_usage_sum{${genAi},gen_ai_token_type="input"} 10`,
    `gen_ai_client_token_usage_count{${genAi},gen_ai_token_type="output"} 1`,
    `gen_ai_client_operation_duration_seconds_sum{${genAi}} 1.5`,
    `gen_ai_client_operation_time_to_first_chunk_seconds_count{${genAi}} 1`,
    'sallyport_gateway_overhead_seconds_count 1',
    'sallyport_build_info{version="1.2.3",node="26.10.0"} 1',
  ]) {
    t.ok(text.includes(line), line);
  }
});

t.test('histogram buckets are cumulative, ordered and closed by +Inf', async (t) => {
  const metrics = createMetrics({ version: '1', node: '26' });
  for (const seconds of [0.00005, 0.0003, 0.002, 99, Number.NaN, -1])
    metrics.journalAppended('use.begin', seconds);
  const rows = (await lines(metrics)).filter((line) => line.startsWith('sallyport_journal_append_seconds'));
  const counts = rows.filter((row) => row.includes('_bucket')).map((row) => Number(row.split(' ')[1]));
  t.same(
    counts,
    counts.toSorted((a, b) => a - b),
  );
  t.match(rows.join('\n'), /le="0.00005"} 1\n/);
  t.match(rows.join('\n'), /le="\+Inf"} 4\n/);
  t.match(rows.join('\n'), /_count 4$/, 'what is no duration is left out');
  t.ok((await lines(metrics)).includes('sallyport_journal_records_total{event="use.begin"} 6'));
});

t.test('strangers’ text never becomes a label, however many names they send', async (t) => {
  const metrics = createMetrics({ version: '1', node: '26' });
  for (let i = 0; i < 100_000; i += 1) {
    const odd = `evil${i}"}\n${'x'.repeat(i % 300)}`;
    metrics.callStarted(odd);
    metrics.callEnded({ ...call, provider: odd, operation: odd, outcome: odd, model: odd });
    metrics.attemptEnded(odd, 1, 1);
    metrics.callMoved(odd, 'openai');
    metrics.callMoved('openai', odd);
    metrics.refused(odd);
    const letters = String.fromCharCode(97 + (i % 26), 97 + (Math.floor(i / 26) % 26));
    metrics.callEnded({ ...call, operation: `openai.o${letters}` });
    metrics.retried(odd, odd);
    metrics.keyOpened(odd, false);
    metrics.authRefused(odd);
    metrics.authRefused('__proto__');
    metrics.journalAppended(odd, 0.1);
  }
  const text = await metrics.text();
  t.notMatch(text, /evil/);
  t.match(text, /sallyport_calls_total{provider="custom",operation="other",outcome="INTERNAL"} 100000/);
  t.match(text, /sallyport_auth_refusals_total{code="INTERNAL"} 200000/);
  t.match(text, /sallyport_requests_refused_total{code="INTERNAL"} 100000/);
  t.ok(text.length < 1_200_000, `${text.length} characters`);
});

t.test(
  'whoever succeeds with every model there is fills up his own provider’s rows, and no other’s',
  async (t) => {
    const metrics = createMetrics({ version: '1', node: '26' });
    const made = { ...call, operation: 'openai.chat', model: 'of nobody’s list' };
    for (let i = 0; i < 100_000; i += 1)
      metrics.callEnded({ ...made, provider: 'his-own', listedModel: `listed-${i}` });
    metrics.callEnded({ ...made, provider: 'openai', listedModel: 'gpt-99' });
    metrics.callEnded({ ...made, provider: 'openai', listedModel: 'gpt-98', outcome: 'UPSTREAM_REJECTED' });
    const samples = await lines(metrics);
    const costs = samples.filter((line) => line.startsWith('sallyport_cost_nano_usd_total'));
    const models = costs.map((line) => /provider="(\w+)",model="(.+?)"/.exec(line)?.slice(1).join(' '));
    t.equal(models.filter((model) => model?.startsWith('custom ')).length, 65, '64, and the others together');
    t.ok(models.includes('custom other'));
    t.ok(models.includes('openai gpt-99'), 'another provider’s models are told apart as before');
    t.notOk(models.includes('openai gpt-98'), 'a model that nobody has had an answer of makes no row');
    t.ok(models.includes('openai other'));
    t.ok(samples.length < 6000, `${samples.length} samples`);
  },
);

t.test('what alerts look at is there at 0, so that its first event is an increase', async (t) => {
  const metrics = createMetrics({ version: '1', node: '26' });
  metrics.rootKeyUsed('kms', 'ok');
  const before = await lines(metrics);
  const watched = [
    'sallyport_key_opens_total{provider="custom",result="failed"}',
    'sallyport_keys_echoed_total{provider="openai"}',
    'sallyport_root_key_uses_total{scheme="kms",result="denied"}',
    'sallyport_checkpoints_total{result="unsent"}',
    'sallyport_alerts_total{rule="silence"}',
    'sallyport_uses_presumed_total',
    'sallyport_faults_total',
  ];
  for (const name of watched) t.ok(before.includes(`${name} 0`), name);
  metrics.refused('INTERNAL');
  metrics.callEnded({ ...call, outcome: 'INTERNAL' });
  t.ok((await lines(metrics)).includes('sallyport_faults_total 2'));
});

t.test('counters take no nonsense from a provider', async (t) => {
  const metrics = createMetrics({ version: '1', node: '26' });
  const usage = {
    inputTokens: -5,
    cachedInputTokens: Number.NaN,
    cacheWriteInputTokens: null,
    outputTokens: Infinity,
    reasoningTokens: null,
  };
  metrics.callEnded({ ...call, usage, costNanoUsd: 'x', isUsageUnknown: true });
  const text = await metrics.text();
  t.notMatch(text, /NaN|-5|Nan/);
  t.match(text, /sallyport_usage_unknown_total{provider="openai"} 1/);
});

t.test('every metric of the contract is there from the start', async (t) => {
  const metrics = createMetrics({ version: '1', node: '26' });
  metrics.setKeys({ active: 3, disabled: 1 });
  metrics.setJournalLag({ records: 5, bytes: 600, seconds: 0.5 });
  metrics.journalGate(true);
  metrics.setUndecryptableKeys(1);
  metrics.setVerifyProblems(0);
  const text = await metrics.text();
  const types: [string, string][] = [
    ['gen_ai_client_token_usage', 'histogram'],
    ['gen_ai_client_operation_duration_seconds', 'histogram'],
    ['gen_ai_client_operation_time_to_first_chunk_seconds', 'histogram'],
    ['sallyport_calls_total', 'counter'],
    ['sallyport_calls_in_flight', 'gauge'],
    ['sallyport_gateway_overhead_seconds', 'histogram'],
    ['sallyport_upstream_retries_total', 'counter'],
    ['sallyport_tokens_total', 'counter'],
    ['sallyport_cost_nano_usd_total', 'counter'],
    ['sallyport_usage_unknown_total', 'counter'],
    ['sallyport_auth_refusals_total', 'counter'],
    ['sallyport_key_opens_total', 'counter'],
    ['sallyport_keys_echoed_total', 'counter'],
    ['sallyport_keys_undecryptable', 'gauge'],
    ['sallyport_keys', 'gauge'],
    ['sallyport_keys_expiring', 'gauge'],
    ['sallyport_journal_records_total', 'counter'],
    ['sallyport_journal_append_seconds', 'histogram'],
    ['sallyport_journal_lag_records', 'gauge'],
    ['sallyport_journal_lag_bytes', 'gauge'],
    ['sallyport_journal_lag_seconds', 'gauge'],
    ['sallyport_journal_gate_closed', 'gauge'],
    ['sallyport_journal_verify_problems', 'gauge'],
    ['sallyport_database_restarts_total', 'counter'],
    ['sallyport_checkpoints_total', 'counter'],
    ['sallyport_checkpoint_age_seconds', 'gauge'],
    ['sallyport_alerts_total', 'counter'],
    ['sallyport_webhook_deliveries_total', 'counter'],
    ['sallyport_breaches_waiting', 'gauge'],
    ['sallyport_breach_notice_deadline_seconds', 'gauge'],
    ['sallyport_rewrapped_total', 'counter'],
    ['sallyport_rewrap_remaining', 'gauge'],
    ['sallyport_root_key_uses_total', 'counter'],
    ['sallyport_targets_cooling', 'gauge'],
    ['sallyport_streams_held', 'gauge'],
    ['sallyport_requests_refused_total', 'counter'],
    ['sallyport_workers', 'gauge'],
    ['sallyport_workers_lost_total', 'counter'],
    ['sallyport_faults_total', 'counter'],
    ['sallyport_upstream_seconds', 'histogram'],
    ['sallyport_upstream_first_byte_seconds', 'histogram'],
    ['sallyport_cost_unknown_total', 'counter'],
    ['sallyport_journal_limit_bytes', 'gauge'],
    ['sallyport_uses_presumed_total', 'counter'],
    ['sallyport_webhook_messages_waiting', 'gauge'],
    ['sallyport_webhooks_dead', 'gauge'],
    ['sallyport_upstream_connections', 'gauge'],
    ['sallyport_upstream_connections_opened_total', 'counter'],
    ['sallyport_database_connections', 'gauge'],
    ['sallyport_database_waiting', 'gauge'],
    ['sallyport_epoch_age_seconds', 'gauge'],
    ['sallyport_cache_entries', 'gauge'],
    ['sallyport_cache_lookups_total', 'counter'],
    ['sallyport_event_loop_delay_seconds', 'summary'],
    ['sallyport_build_info', 'gauge'],
  ];
  t.same(
    text
      .split('\n')
      .filter((line) => /^# TYPE (sallyport|gen_ai)_/.test(line))
      .toSorted(),
    types.map(([name, type]) => `# TYPE ${name} ${type}`).toSorted(),
  );
  t.match(text, /sallyport_keys{status="active"} 3\n/);
  t.match(text, /sallyport_keys{status="expired"} 0\n/);
  t.match(text, /sallyport_journal_gate_closed 1\n/);
  t.match(metrics.contentType, /^text\/plain; version=0\.0\.4/);
});

t.test('operations as the providers name them have the well-known names of the convention', async (t) => {
  const paths = [
    ['openai', '/v1/chat/completions', 'chat'],
    ['openai', '/v1/responses', 'chat'],
    ['openai', '/v1/embeddings', 'embeddings'],
    ['anthropic', '/v1/messages', 'chat'],
    ['google', '/v1beta/models/gemini-2.5-flash:generateContent', 'generate_content'],
    ['google', '/v1beta/models/gemini-2.5-flash:streamGenerateContent', 'generate_content'],
    ['google', '/v1beta/models/gemini-embedding-001:embedContent', 'embeddings'],
    ['google', '/v1beta/models/gemini-embedding-001:batchEmbedContents', 'embeddings'],
  ] as const;
  for (const [provider, path, name] of paths) {
    const metrics = createMetrics({ version: '1', node: '26' });
    const operation = providers.get(provider)?.operation('POST', path) ?? '';
    metrics.callEnded({ ...call, provider, operation });
    t.ok(
      (await metrics.text()).includes(`gen_ai_operation_name="${name}"`),
      `${provider} ${path}: ${operation}`,
    );
  }
});
