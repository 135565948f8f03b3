import path from 'node:path';
import { findUndecryptable } from './admin/key-survey.ts';
import type { Config } from './config.ts';
import type { Installation } from './installation.ts';
import { verifyJournal } from './journal/verify.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

const dayMs = 24 * 60 * 60 * 1000;

/**
 * What the gateway looks after by itself: at the start whether all stored keys open, and every day that and the whole journal. Findings
 * are metrics and log lines; nothing is mended by itself.
 *
 * @returns ends it.
 */
export function keepHouse(
  config: Config,
  { store, vault }: Installation,
  { log, metrics }: { readonly log: Log; readonly metrics: Metrics },
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
      const { problems, records } = await verifyJournal({ dir: path.join(config.dataDir, 'journal'), store });
      metrics.setVerifyProblems(problems.length);
      log.info('journal.verified', { records, count: problems.length });
      for (const { stream, seq, kind } of problems.slice(0, 20))
        log.error('journal.problem', { stream, seq, kind });
    });
  void surveyKeys();
  const daily = setInterval(() => void surveyKeys().then(verify), dayMs).unref();
  return () => {
    isStopped = true;
    clearInterval(daily);
  };
}
