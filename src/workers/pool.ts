import cluster, { type Worker } from 'node:cluster';
import process from 'node:process';
import { SallyportError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { type Channel, createChannel } from './channel.ts';
import type { OfPrimary, OfWorker } from './protocol.ts';

/** A worker that lives, as its primary sees it. */
export interface Member {
  readonly id: number;
  readonly channel: Pick<Channel<OfWorker>, 'ask' | 'tell'>;
  readonly pid: number;
  /** At once, whatever it is at. */
  readonly kill: () => void;
  /** Since this was asked last: has it said anything? */
  readonly hasSpoken: () => boolean;
  /** It takes calls. */
  readonly isServing: () => boolean;
}

/** The worker processes: so many of them as are wanted, whatever becomes of each. */
export interface Pool {
  /** Resolves when all take calls. @returns their main port. @throws when one of them ends instead. */
  start(): Promise<number>;
  members(): readonly Member[];
  /** Resolves when the last of them has ended. One that hangs is killed. */
  stop(graceMs: number): Promise<void>;
}

export interface PoolDeps {
  readonly count: number;
  readonly log: Log;
  /** What a worker asks of us; `serving` is the pool's own. */
  readonly handlersOf: (member: Member) => Omit<OfPrimary, 'serving'>;
  readonly onServing: () => void;
  /** It ended, asked or not. */
  readonly onEnd: (member: Member, wasAsked: boolean) => void;
  readonly now: () => number;
  /** For what a worker does at its stop besides waiting; longer, and it hangs. */
  readonly hungMs?: number;
  /** One that serves and says nothing for so long hangs; it tells what it has counted every second. */
  readonly silentMs?: number;
}

/** One that lived shorter than this is replaced after a pause, doubled with each. */
const shortLifeMs = 10_000;
const [firstPauseMs, longestPauseMs] = [250, 10_000];
/** The primary's own patience (serve.ts) must not be at its end yet. */
const usualHungMs = 12_000;
/** In so many looks: were it one, a primary that stood still itself would find all of them silent when it goes on. */
const looks = 12;

export function createPool(deps: PoolDeps): Pool {
  const { count, log, handlersOf, onServing, onEnd, now, hungMs = usualHungMs, silentMs = 60_000 } = deps;
  const members = new Map<number, Member>();
  const ready = Promise.withResolvers<number>();
  const ended = Promise.withResolvers<void>();
  const serving = new Set<number>();
  let isStarted = false;
  let isStopping = false;
  let shortLives = 0;
  const pauses = new Set<NodeJS.Timeout>();
  /** Looks in a row that found it silent. */
  const silences = new Map<Member, number>();
  let watch: NodeJS.Timeout | undefined;

  function fork(): void {
    const bornAt = now();
    // The descriptor of keys from the environment is the primary's: workers read none.
    cluster.setupPrimary({ args: ['serve'] });
    const worker = cluster.fork();
    const member = enlist(worker);
    let isOver = false;
    const end = (code: number | null, signal: string | null): void => {
      if (isOver) return;
      isOver = true;
      members.delete(worker.id);
      silences.delete(member);
      serving.delete(worker.id);
      onEnd(member, isStopping);
      if (isStopping) {
        if (members.size === 0) ended.resolve();
        return;
      }
      log.error('worker.ended', { pid: member.pid, code, signal });
      if (!isStarted) {
        ready.reject(new SallyportError('INTERNAL', 'A worker did not start; its own lines say why.'));
        return;
      }
      shortLives = now() - bornAt < shortLifeMs ? shortLives + 1 : 0;
      const pauseMs =
        shortLives === 0 ? 0 : Math.min(longestPauseMs, firstPauseMs * 2 ** Math.min(shortLives - 1, 10));
      const pause = setTimeout(() => {
        pauses.delete(pause);
        fork();
      }, pauseMs);
      pauses.add(pause);
    };
    worker.once('exit', end);
    worker.on('error', (error) => {
      log.error('worker.failed', { pid: member.pid, error });
      // The system has no room for another process: this one was never there, and no exit will come.
      if (worker.process.pid === undefined) end(null, null);
    });
  }

  function enlist(worker: Worker): Member {
    const pipe = {
      send: (message: unknown): void => {
        if (worker.isConnected()) worker.send(message as string, () => {});
      },
      onMessage: (listener: (message: unknown) => void): void => void worker.on('message', listener),
    };
    const handlers: OfPrimary = {
      welcome: (body) => handlersOf(member).welcome(body),
      scrape: (body) => handlersOf(member).scrape(body),
      counted: (body) => handlersOf(member).counted(body),
      permits: (body) => handlersOf(member).permits(body),
      report: (body) => handlersOf(member).report(body),
      failed: (body) => handlersOf(member).failed(body),
      serving({ port }) {
        serving.add(worker.id);
        onServing();
        if (serving.size < count) return;
        isStarted = true;
        ready.resolve(port);
      },
    };
    let hasSpoken = false;
    worker.on('message', () => (hasSpoken = true));
    const channel = createChannel<OfWorker>(pipe, handlers);
    const member: Member = Object.freeze({
      id: worker.id,
      pid: worker.process.pid ?? 0,
      kill: () => void worker.process.kill('SIGKILL'),
      hasSpoken() {
        const had = hasSpoken;
        hasSpoken = false;
        return had;
      },
      isServing: () => serving.has(worker.id),
      channel,
    });
    members.set(worker.id, member);
    worker.once('exit', () => channel.close());
    return member;
  }

  function killAll(): void {
    for (const { kill } of members.values()) kill();
  }

  /** The kernel goes on giving it connections, and nobody answers them: who asks `/readyz` seldom meets the one that hangs. */
  function look(): void {
    for (const member of members.values()) {
      const silence = member.hasSpoken() || !member.isServing() ? 0 : (silences.get(member) ?? 0) + 1;
      silences.set(member, silence);
      if (silence < looks) continue;
      log.error('worker.hung', { pid: member.pid });
      member.kill();
    }
  }

  return Object.freeze<Pool>({
    async start() {
      // Whoever lives ends by himself when we are gone. One that hangs would not, and would keep the port from the next start.
      process.once('exit', killAll);
      for (let i = 0; i < count; i += 1) fork();
      const port = await ready.promise;
      watch = setInterval(look, silentMs / looks).unref();
      return port;
    },
    members: () => [...members.values()],
    async stop(graceMs) {
      isStopping = true;
      clearInterval(watch);
      for (const pause of pauses) clearTimeout(pause);
      if (members.size === 0) return;
      for (const member of members.values()) member.channel.tell('stop', { graceMs });
      const hung = setTimeout(() => {
        for (const { pid } of members.values()) log.error('worker.hung', { pid });
        killAll();
      }, graceMs + hungMs);
      await ended.promise;
      clearTimeout(hung);
    },
  });
}
