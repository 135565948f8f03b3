import { forgetOldRequests } from './admin/idempotency.ts';
import { createReminders } from './admin/key-reminders.ts';
import { findUndecryptable } from './admin/key-survey.ts';
import { supplySalts } from './admin/salt-supply.ts';
import type { Config } from './config.ts';
import type { Installation } from './installation.ts';
import { checkJournal } from './journal-check.ts';
import { retireMonths } from './journal-retirement.ts';
import { createPresumption } from './journal/presumption.ts';
import type { Verdict } from './journal/verify.ts';
import { createPace } from './journal/verify-pace.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

const hourMs = 60 * 60 * 1000;
const dayMs = 24 * hourMs;
/** Of one core, while calls go on: a million records take two minutes. */
const verifyShare = 0.25;
/** As often as the others beat (db/node-beat.ts). */
const watchMs = 5000;

/**
 * What the gateway looks after by itself: at the start whether all stored keys open, and every day that and the whole journal, of which
 * old months go then; at the start and every hour which keys expire soon or want a new value, whether next month's salts are there, and
 * which keys of requests are a day old; every five seconds which other nodes are gone, and what they left open. Findings are metrics, log
 * lines and records; nothing is mended by itself.
 *
 * @returns ends it.
 */
export function keepHouse(
  config: Config,
  { store, vault, journal, nodeId }: Pick<Installation, 'store' | 'vault' | 'journal' | 'nodeId'>,
  {
    log,
    metrics,
    clock = Date.now,
  }: { readonly log: Log; readonly metrics: Metrics; readonly clock?: () => number },
): () => void {
  let isStopped = false;
  const attempt = async (what: string, work: () => Promise<void>): Promise<void> => {
    if (isStopped) return;
    await work().catch((error: unknown) => {
      if (!isStopped) log.warn('housekeeping.failed', { name: what, error });
    });
  };
  const surveyKeys = (): Promise<void> =>
    attempt('keys', async () => {
      const broken = await findUndecryptable({ store, vault });
      metrics.setUndecryptableKeys(broken.length);
      for (const keyId of broken.slice(0, 20)) log.error('key.undecryptable', { keyId });
    });
  const verify = (): Promise<void> =>
    attempt('journal', async () => {
      const pace = createPace(verifyShare);
      const verdict = await checkJournal(config, { store, vault, pace });
      const { problems, records } = verdict;
      metrics.setVerifyProblems(problems.length);
      log.info('journal.verified', { records, count: problems.length });
      for (const { stream, seq, kind } of problems.slice(0, 20))
        log.error('journal.problem', { stream, seq, kind });
      await attempt('retention', () => retire(verdict));
    });
  const retire = async (verdict: Verdict): Promise<void> => {
    const record = journal.append.bind(journal);
    for (const { month, outcome, records } of await retireMonths(
      config,
      { store, vault, record, clock },
      { verdict },
    )) {
      if (outcome === 'retired') log.info('journal.retired', { name: month, count: records });
      else log.warn('journal.not-retired', { name: month, detail: outcome });
    }
  };
  const reminders = createReminders({
    store,
    journal,
    clock,
    onReminder: ({ event, ...fields }) => log.warn(event, fields),
  });
  const remind = (): Promise<void> => attempt('reminders', () => reminders.remind());
  const presumption = createPresumption({ store, journal, nodeId, clock: () => performance.now() });
  let isWatching = false;
  const watch = async (): Promise<void> => {
    // A database that answers slowly is asked once at a time; one that does not is told of by the heartbeat.
    if (isWatching || isStopped) return;
    isWatching = true;
    const count = await presumption.look().catch(() => 0);
    isWatching = false;
    if (count === 0) return;
    metrics.usesPresumed(count);
    log.warn('journal.presumed', { count });
  };
  const supply = (): Promise<void> => attempt('address salts', () => supplySalts({ store, vault, clock }));
  const forget = (): Promise<void> => attempt('requests', () => forgetOldRequests(store, clock()));
  void surveyKeys().then(remind).then(supply).then(forget);
  const daily = setInterval(() => void surveyKeys().then(verify), dayMs).unref();
  const hourly = setInterval(() => void remind().then(supply).then(forget), hourMs).unref();
  const watching = setInterval(() => void watch(), watchMs).unref();
  return () => {
    isStopped = true;
    clearInterval(daily);
    clearInterval(hourly);
    clearInterval(watching);
  };
}
