import { Registry } from 'prom-client';
import { errorTable } from '../errors.ts';
import { createCallMetrics, knownProviders, providerLabel } from './call-metrics.ts';
import type { MetricsSnapshot } from './merged-metrics.ts';
import { createProcessMetrics, eventLoopDelay } from './process-metrics.ts';
import { createResourceMetrics } from './resource-metrics.ts';
import { type Tally, createHistogram, createTally } from './tally.ts';

export type { EndedCall } from './call-metrics.ts';
export type { Resources } from './resource-metrics.ts';
export type Metrics = ReturnType<typeof createMetrics>;

const rootKeyResults = ['ok', 'denied', 'unavailable', 'wrong_key', 'disabled'] as const;
type RootKeyResult = (typeof rootKeyResults)[number];
type AlertRule = 'new-network' | 'rate' | 'silence' | 'refusals';
type KeyStatus = 'active' | 'disabled' | 'expired' | 'auth_failed';

const appendBounds = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 2];

/**
 * All metrics of WIRE.md under their exact names, in a registry of their own. Methods never throw and put only known values into
 * labels; docs/metrics.md lists them.
 */
export function createMetrics({ version, node }: { readonly version: string; readonly node: string }) {
  const registry = new Registry();
  const callMetrics = createCallMetrics(registry);
  const resourceMetrics = createResourceMetrics(registry);
  createProcessMetrics(registry);
  const counter = <const L extends readonly string[]>(name: string, help: string, labels: L): Tally<L> =>
    createTally(registry, { type: 'counter', name, help, labels });
  const gauge = <const L extends readonly string[]>(name: string, help: string, labels: L): Tally<L> =>
    createTally(registry, { type: 'gauge', name, help, labels });
  /** Of the whole installation, or a worst case: every process says the same, or the largest holds. */
  const whole = <const L extends readonly string[]>(name: string, help: string, labels: L): Tally<L> =>
    createTally(registry, { type: 'gauge', name, help, labels, aggregator: 'max' });

  const retries = counter('sallyport_upstream_retries_total', 'Attempts repeated, by why', [
    'provider',
    'reason',
  ]);
  const refusals = counter('sallyport_auth_refusals_total', 'Credentials refused', ['code']);
  const opens = counter('sallyport_key_opens_total', 'Provider keys opened', ['provider', 'result']);
  const echoes = counter('sallyport_keys_echoed_total', 'Answers that held the key sent for them', [
    'provider',
  ]);
  const undecryptable = whole('sallyport_keys_undecryptable', 'Stored keys that do not open', []).cell();
  const keys = whole('sallyport_keys', 'Stored keys', ['status']);
  const keysExpiring = whole('sallyport_keys_expiring', 'Active keys that expire within 14 days', []).cell();
  const records = counter('sallyport_journal_records_total', 'Journal records written', ['event']);
  const append = createHistogram(registry, {
    name: 'sallyport_journal_append_seconds',
    help: 'From append to durable',
    labels: [],
    bounds: appendBounds,
  }).spread();
  const lag = {
    records: gauge('sallyport_journal_lag_records', 'Records not yet in the database', []).cell(),
    bytes: gauge('sallyport_journal_lag_bytes', 'Bytes not yet in the database', []).cell(),
    seconds: whole(
      'sallyport_journal_lag_seconds',
      'Age of the oldest record not yet in the database',
      [],
    ).cell(),
  };
  const gate = whole('sallyport_journal_gate_closed', '1 while no key may be opened', []).cell();
  const problems = whole('sallyport_journal_verify_problems', 'What the last verification found', []).cell();
  const limit = whole('sallyport_journal_limit_bytes', 'Of these, the gate closes', []).cell();
  const presumed = counter(
    'sallyport_uses_presumed_total',
    'Uses of lost processes, presumed ended',
    [],
  ).cell();
  const checkpoints = counter('sallyport_checkpoints_total', 'Signed checkpoints of the journal', ['result']);
  for (const result of ['written', 'failed', 'sent', 'unsent'] as const) checkpoints.cell(result);
  const databaseRestarts = counter(
    'sallyport_database_restarts_total',
    'Times that the embedded database came back after it had ended',
    [],
  ).cell();
  const checkpointAge = whole(
    'sallyport_checkpoint_age_seconds',
    'Since the last checkpoint, 0 while no record waits for one',
    [],
  ).cell();
  const alerts = counter('sallyport_alerts_total', 'Alerts raised by this process', ['rule']);
  for (const rule of ['new-network', 'rate', 'silence', 'refusals'] as const) alerts.cell(rule);
  const breaches = whole('sallyport_breaches_waiting', 'Breaches whose notice is not out', []).cell();
  const noticeDeadline = whole(
    'sallyport_breach_notice_deadline_seconds',
    'Until the first notice is due, negative when it is late; 0 while none waits',
    [],
  ).cell();
  const deliveries = counter('sallyport_webhook_deliveries_total', 'Attempts to tell webhooks', ['outcome']);
  for (const outcome of ['delivered', 'failed', 'given_up'] as const) deliveries.cell(outcome);
  const webhooksDead = whole(
    'sallyport_webhooks_dead',
    'Webhooks whose last message was given up',
    [],
  ).cell();
  const messagesWaiting = whole(
    'sallyport_webhook_messages_waiting',
    'Messages not yet delivered',
    [],
  ).cell();
  const rewrapped = counter(
    'sallyport_rewrapped_total',
    'Records sealed anew under another root key',
    [],
  ).cell();
  const rewrapRemaining = gauge(
    'sallyport_rewrap_remaining',
    'Records not yet under the active root key',
    [],
  ).cell();
  const rootKeyUses = counter('sallyport_root_key_uses_total', 'Requests to key services', [
    'scheme',
    'result',
  ]);
  whole('sallyport_build_info', 'Always 1', ['version', 'node']).cell(version, node).value = 1;
  const workers = whole('sallyport_workers', 'Processes that serve calls', []).cell();
  workers.value = 1;
  const workersLost = counter('sallyport_workers_lost_total', 'Workers that ended unasked', []).cell();
  for (const status of ['active', 'disabled', 'expired', 'auth_failed'] as const) keys.cell(status);

  // A counter that begins with its first event has not increased for Prometheus: what alerts look at is there before.
  for (const provider of knownProviders) {
    echoes.cell(provider);
    for (const result of ['ok', 'failed']) opens.cell(provider, result);
  }
  const schemes = new Set<string>();

  const reasons = closedSet(32);
  const events = closedSet(200);
  const recordCells = new Map<string, { value: number }>();

  return Object.freeze({
    ...callMetrics,
    ...resourceMetrics,

    /** An attempt is followed by another: what it failed of, or `fallback`. */
    retried(provider: string, reason: string) {
      retries.cell(providerLabel(provider), reasons(reason)).value += 1;
    },
    /** An answer held the key that was sent for it. */
    keyEchoed(provider: string) {
      echoes.cell(providerLabel(provider)).value += 1;
    },
    keyOpened(provider: string, isOk: boolean) {
      opens.cell(providerLabel(provider), isOk ? 'ok' : 'failed').value += 1;
    },
    /** A credential, which also stands in what is refused. @param code of the error table */
    authRefused(code: string) {
      refusals.cell(Object.hasOwn(errorTable, code) ? code : 'INTERNAL').value += 1;
    },
    setUndecryptableKeys(count: number) {
      undecryptable.value = count;
    },
    setKeys(counts: Readonly<Partial<Record<KeyStatus | 'expiring', number>>>) {
      keysExpiring.value = counts.expiring ?? 0;
      for (const status of ['active', 'disabled', 'expired', 'auth_failed'] as const) {
        keys.cell(status).value = counts[status] ?? 0;
      }
    },
    journalAppended(event: string, seconds: number) {
      recordCells.getOrInsertComputed(events(event), (name) => records.cell(name)).value += 1;
      append.observe(seconds);
    },
    databaseRestarted() {
      databaseRestarts.value += 1;
    },
    journalGate(isClosed: boolean) {
      gate.value = isClosed ? 1 : 0;
    },
    setJournalLag(now: { readonly records: number; readonly bytes: number; readonly seconds: number }) {
      lag.records.value = now.records;
      lag.bytes.value = now.bytes;
      lag.seconds.value = now.seconds;
    },
    /** JOURNAL_MAX_BYTES */
    setJournalLimit(bytes: number) {
      limit.value = bytes;
    },
    usesPresumed(count: number) {
      presumed.value += count;
    },
    /** A root key in a key service was asked. Both labels come from closed sets of vault/kek-provider.ts. */
    rootKeyUsed(scheme: 'local' | 'transit' | 'kms', result: RootKeyResult) {
      if (!schemes.has(scheme)) for (const each of rootKeyResults) rootKeyUses.cell(scheme, each);
      schemes.add(scheme);
      rootKeyUses.cell(scheme, result).value += 1;
    },
    rewrapProgress(now: { readonly remaining: number; readonly more: number }) {
      rewrapRemaining.value = now.remaining;
      rewrapped.value += now.more;
    },
    /** `failed`: none could be written. `sent`, `unsent`: one went to an outlet, or did not. */
    checkpoint(result: 'written' | 'failed' | 'sent' | 'unsent') {
      checkpoints.cell(result).value += 1;
    },
    setCheckpointAge(seconds: number) {
      checkpointAge.value = seconds;
    },
    alertRaised(rule: AlertRule) {
      alerts.cell(rule).value += 1;
    },
    setBreaches(waiting: number, secondsLeft: number) {
      breaches.value = waiting;
      noticeDeadline.value = secondsLeft;
    },
    /** `failed`: it is tried again. */
    webhookDelivery(outcome: 'delivered' | 'failed' | 'given_up') {
      deliveries.cell(outcome).value += 1;
    },
    setWebhooks(now: { readonly dead: number; readonly waiting: number }) {
      webhooksDead.value = now.dead;
      messagesWaiting.value = now.waiting;
    },
    setVerifyProblems(count: number) {
      problems.value = count;
    },
    setWorkers(count: number) {
      workers.value = count;
    },
    workerLost() {
      workersLost.value += 1;
    },

    /** The exposition text, for `contentType`. */
    text: (): Promise<string> => registry.metrics(),
    /** The same for `mergeMetrics`, in another process. */
    snapshot: async (): Promise<MetricsSnapshot> => (await registry.getMetricsAsJSON()) as never,
    /** What `keepCounts` needs of it. */
    counts: async (): Promise<MetricsSnapshot> => {
      const metrics = registry.getMetricsAsArray() as unknown as {
        readonly name: string;
        get(): Promise<MetricsSnapshot[number]>;
      }[];
      const all = await Promise.all(
        metrics.filter(({ name }) => name !== eventLoopDelay).map((metric) => metric.get()),
      );
      return all.filter(({ type }) => type === 'counter' || type === 'histogram');
    },
    contentType: registry.contentType,
  });
}

/** Names that our own code hands in, with a bound for the day when one of them is a stranger's. */
function closedSet(max: number): (name: string) => string {
  const seen = new Set<string>();
  return (name) => {
    if (seen.has(name)) return name;
    if (seen.size >= max || !/^[a-zA-Z][\w.:-]{0,63}$/.test(name)) return 'other';
    seen.add(name);
    return name;
  };
}
