import type { ActLookup } from './journal/act-lookup.ts';
import type { Journal } from './journal/journal.ts';
import { settleCrashed } from './journal/recovery.ts';
import type { Log } from './telemetry/log.ts';

/** What processes of this folder left behind that are gone. */
export interface Aftermath {
  /** At a start. An act whose transaction has not ended does not hold it up: it is looked at again in the background. */
  start(): Promise<void>;
  /** @returns how many acts wait for being sure. */
  settle(isSure: boolean): Promise<number>;
  /** What is still open is left to the next start. */
  stop(): Promise<void>;
}

export interface AftermathDeps {
  readonly journal: Journal;
  readonly lookup: ActLookup;
  readonly log: Log;
  /** Between two looks at what nobody could say. */
  readonly lookMs?: number;
}

export function createAftermath({ journal, lookup, log, lookMs = 5000 }: AftermathDeps): Aftermath {
  let running: Promise<unknown> = Promise.resolve();
  let timer: NodeJS.Timeout | null = null;
  let isStopped = false;

  /** One after another: a folder is settled by one at a time, and the second would be told that nothing waits. */
  function settle(isSure: boolean): Promise<number> {
    const settled = running.then(() => (isStopped ? 0 : settleOnce(isSure)));
    running = settled.catch(() => {});
    return settled;
  }

  async function settleOnce(isSure: boolean): Promise<number> {
    const recovered = await settleCrashed({
      journal,
      lookup: async (actId, workspaceId) => {
        if (isStopped) throw new Error('no time to look');
        const isThere = await lookup(actId, workspaceId);
        if (!isThere && !isSure) throw new Error('its transaction may be under way still');
        return isThere;
      },
      onFault: (fault) =>
        log.error('journal.damaged', { stream: fault.stream, seq: fault.seq, kind: fault.kind }),
    });
    if (recovered.calls + recovered.acts + recovered.torn > 0) {
      log.warn('journal.settled', {
        count: recovered.calls,
        detail: `${recovered.acts} acts, ${recovered.torn} torn tails`,
      });
    }
    return recovered.openActs;
  }

  async function lookAgain(): Promise<void> {
    const waiting = await settle(true).catch((error: unknown) => {
      log.warn('journal.not-settled', { error });
      return 1;
    });
    if (waiting > 0) schedule();
  }

  function schedule(): void {
    if (!isStopped) timer = setTimeout(() => void lookAgain(), lookMs).unref();
  }

  return Object.freeze<Aftermath>({
    async start() {
      if ((await settle(true)) > 0) schedule();
    },
    settle,
    async stop() {
      isStopped = true;
      if (timer !== null) clearTimeout(timer);
      await running;
    },
  });
}
