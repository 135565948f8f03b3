import { setTimeout as delay } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { connectionsEach } from '../db/connection-share.ts';
import { mostConnections } from '../db/store.ts';
import type { Front, FrontDeps } from '../front.ts';
import { createFailures } from '../limits/failures.ts';
import { createPermitDesk } from '../limits/permit-desk.ts';
import { keepCounts, mergeMetrics, type MetricsSnapshot } from '../telemetry/merged-metrics.ts';
import { createPool, type Member, type Pool } from './pool.ts';
import { createSettling } from './settling.ts';

/** A worker that does not say what it has counted is answered for by what it said last. */
const countMs = 2000;

/**
 * The primary's side of several workers: they take the calls, and this process does what a gateway does once. It takes no calls itself;
 * what it holds for the workers is what one of them alone could not know.
 */
export function createWorkersFront(config: Config, { app, installation, log, metrics }: FrontDeps): Front {
  const counts = new Map<number, MetricsSnapshot>();
  /** Of workers that are gone. */
  let kept: MetricsSnapshot = [];
  let keeping: Promise<void> = Promise.resolve();
  const settling = createSettling({
    settle: (isSure) => installation.settle(isSure),
    now: () => performance.now(),
    log,
  });
  const failures = createFailures({ clock: Date.now });
  const desk = createPermitDesk({
    clock: Date.now,
    workers: () => config.workers,
    recall: async (id, tokenId) => (await memberOf(id)?.channel.ask('recall', { tokenId })) ?? null,
  });
  let maxConnections = mostConnections;
  let isRetired = false;
  const pool: Pool = createPool({
    count: config.workers,
    log,
    now: () => performance.now(),
    handlersOf: (member) => ({
      welcome() {
        if (isRetired) member.channel.tell('retire', null);
        return { maxConnections };
      },
      scrape,
      counted: (snapshot) => void counts.set(member.id, snapshot),
      permits: (ask) => desk.ask(member.id, ask),
      report: (report) => desk.report(member.id, report),
      failed({ who, perMinute }) {
        const owedMs = failures.count(who, perMinute);
        if (owedMs !== null) for (const each of pool.members()) each.channel.tell('owed', { who, owedMs });
      },
    }),
    onServing: () => metrics.setWorkers(serving().length),
    onEnd(member, wasAsked) {
      desk.forget(member.id);
      const last = counts.get(member.id);
      counts.delete(member.id);
      if (last !== undefined)
        keeping = keeping.then(async () => void (kept = await keepCounts([kept, last])));
      metrics.setWorkers(serving().length);
      if (wasAsked) return;
      metrics.workerLost();
      settling.someoneDied();
    },
  });

  const serving = (): Member[] => pool.members().filter((member) => member.isServing());
  const memberOf = (id: number): Member | undefined => pool.members().find((member) => member.id === id);

  async function scrape(): Promise<string> {
    const own = await app.count();
    const asked = await Promise.all(
      serving().map(async ({ id, channel, isServing }) => {
        const answer = channel.ask('count', null).catch(() => null);
        const snapshot = await Promise.race([answer, delay(countMs, null, { ref: false })]);
        if (snapshot !== null && isServing()) counts.set(id, snapshot);
        return { isServing, snapshot: snapshot ?? counts.get(id) ?? [] };
      }),
    );
    await keeping;
    // One that has ended meanwhile is among those that are kept.
    const living = asked.filter(({ isServing }) => isServing());
    return mergeMetrics([own, ...living.map(({ snapshot }) => snapshot), kept]);
  }

  return Object.freeze<Front>({
    async open() {
      maxConnections = await connectionsEach(installation.store, {
        workers: config.workers,
        isEmbedded: config.databaseUrl === null,
      });
      return pool.start();
    },
    retire() {
      isRetired = true;
      for (const member of pool.members()) member.channel.tell('retire', null);
    },
    cut() {
      for (const member of pool.members()) member.channel.tell('cut', null);
    },
    async close(graceMs) {
      // A database that hangs may keep the settling waiting; calls under way have their time meanwhile.
      await Promise.all([settling.stop(), pool.stop(graceMs)]);
    },
  });
}
