import { createBoundedMap } from './bounded-map.ts';
import { type Bucket, charge, drain, rested, waitMs } from './gcra.ts';
import { type PermitAnswer, type PermitAsk, type PermitReport, recalledMs } from './permits.ts';

/** The limits of tokens over all workers of one gateway: kept by the primary. */
export interface PermitDesk {
  ask(workerId: number, ask: PermitAsk): Promise<PermitAnswer>;
  report(workerId: number, report: PermitReport): void;
  /** The worker is gone, and its calls with it. What it had not used counts as used, and what it still asks for it does not get. */
  forget(workerId: number): void;
}

export interface PermitDeskOptions {
  readonly clock: () => number;
  readonly workers: () => number;
  /** Asks a worker for what it does not need of a token; it reports that, and gives back at once for a while. */
  readonly recall: (workerId: number, tokenId: string) => Promise<PermitReport | null>;
  readonly maxTokens?: number;
  /** How long a worker has for its answer to a recall. One that hangs keeps what it holds, and nobody waits for it. */
  readonly recallWithinMs?: number;
}

interface Holding {
  permits: number;
  slots: number;
}

interface TokenState {
  bucket: Bucket;
  readonly holdings: Map<number, Holding>;
  /** As last heard. */
  perMinute: number;
  /** Until then workers keep nothing that they do not need. */
  recalledUntil: number;
  recalling: Promise<void> | null;
}

/** Of what is left a worker gets so small a part ahead that the others hardly miss it. */
const shareAhead = 8;
const mostAhead = 64;

/**
 * What is handed out and not yet used stays counted and does not drain, so that all workers together never pass what one process would
 * let pass (gcra.ts): a permit counts when it is used, and until then as if it were to be used now. Nobody is refused while another
 * worker holds what he needs: it is recalled first.
 */
export function createPermitDesk(options: PermitDeskOptions): PermitDesk {
  const { clock, workers, recall, maxTokens = 100_000, recallWithinMs = 1000 } = options;
  /** A question of theirs may have waited for a recall meanwhile: a slot that it got would be free never again. */
  const gone = new Set<number>();
  const tokens = createBoundedMap<TokenState>(maxTokens, ({ holdings }) => holdings.size === 0);

  function stateOf(tokenId: string): TokenState {
    let state = tokens.get(tokenId);
    if (state === undefined) {
      state = { bucket: rested, holdings: new Map(), perMinute: 1, recalledUntil: 0, recalling: null };
      tokens.set(tokenId, state);
    }
    return state;
  }

  const sumOf = ({ holdings }: TokenState, what: keyof Holding): number =>
    holdings.values().reduce((sum, holding) => sum + holding[what], 0);

  const isRecalled = ({ recalledUntil }: TokenState, now: number): boolean =>
    now < recalledUntil && recalledUntil - now <= recalledMs;

  /** Null: granted. */
  function refusalOf(state: TokenState, { needs, ...ask }: PermitAsk, now: number): PermitAnswer | null {
    const running = sumOf(state, 'slots');
    if (needs.slot && ask.concurrentCalls !== null && running >= ask.concurrentCalls)
      return { granted: false, limit: 'concurrency', running };
    if (!needs.permit || ask.requestsPerMinute === null) return null;
    state.bucket = drain(state.bucket, now);
    const afterMs = waitMs(withOutstanding(state, ask.requestsPerMinute), ask.requestsPerMinute);
    return afterMs > 0 ? { granted: false, limit: 'rate', afterMs } : null;
  }

  function withOutstanding(state: TokenState, perMinute: number): Bucket {
    const { owedMs, atMs } = state.bucket;
    return { owedMs: owedMs + (sumOf(state, 'permits') * 60_000) / perMinute, atMs };
  }

  function grant(state: TokenState, workerId: number, { needs, requestsPerMinute }: PermitAsk, now: number) {
    const holding = state.holdings.get(workerId) ?? { permits: 0, slots: 0 };
    state.holdings.set(workerId, holding);
    if (needs.slot) holding.slots += 1;
    if (!needs.permit || requestsPerMinute === null) return 0;
    state.bucket = charge(state.bucket, requestsPerMinute);
    if (isRecalled(state, now)) return 0;
    const leftMs = 60_000 - withOutstanding(state, requestsPerMinute).owedMs;
    const left = (leftMs * requestsPerMinute) / 60_000;
    const more = Math.max(0, Math.min(mostAhead, Math.floor(left / shareAhead / Math.max(1, workers()))));
    holding.permits += more;
    return more;
  }

  function take(workerId: number, report: PermitReport): void {
    const state = tokens.get(report.tokenId);
    const holding = state?.holdings.get(workerId);
    if (state === undefined || holding === undefined) return;
    const used = Math.min(report.used, holding.permits);
    if (report.requestsPerMinute !== null) use(state, used, report.usedAt, report.requestsPerMinute);
    holding.permits = Math.max(0, holding.permits - used - report.permits);
    holding.slots = Math.max(0, holding.slots - report.slots);
    if (holding.slots === 0 && holding.permits === 0) state.holdings.delete(workerId);
  }

  /** As of the last of them: never less than one by one. */
  function use(state: TokenState, used: number, usedAt: number, perMinute: number): void {
    if (used === 0) return;
    if (usedAt > state.bucket.atMs) state.bucket = drain(state.bucket, Math.min(usedAt, clock()));
    for (let i = 0; i < used; i += 1) state.bucket = charge(state.bucket, perMinute);
    state.perMinute = perMinute;
  }

  async function recallEach(tokenId: string, state: TokenState): Promise<void> {
    await Promise.all(
      [...state.holdings.keys()].map(async (workerId) => {
        const taken = recall(workerId, tokenId).then(
          // One that comes late is taken late.
          (report) => report !== null && take(workerId, report),
          () => {},
        );
        const late = Promise.withResolvers<void>();
        const timer = setTimeout(late.resolve, recallWithinMs);
        await Promise.race([taken, late.promise]);
        clearTimeout(timer);
      }),
    );
    state.recalledUntil = clock() + recalledMs;
  }

  /** One at a time for a token; whoever comes meanwhile waits for the same. */
  function recallAll(tokenId: string, state: TokenState): Promise<void> {
    state.recalling ??= recallEach(tokenId, state).finally(() => {
      state.recalling = null;
    });
    return state.recalling;
  }

  return Object.freeze<PermitDesk>({
    async ask(workerId, ask) {
      const state = stateOf(ask.tokenId);
      if (ask.requestsPerMinute !== null) state.perMinute = ask.requestsPerMinute;
      let refusal = refusalOf(state, ask, clock());
      if (refusal !== null && state.holdings.size > 0 && !isRecalled(state, clock())) {
        await recallAll(ask.tokenId, state);
        refusal = refusalOf(state, ask, clock());
      }
      if (refusal !== null) return refusal;
      if (gone.has(workerId)) throw new Error('the worker is gone');
      return {
        granted: true,
        more: grant(state, workerId, ask, clock()),
        isRecalled: isRecalled(state, clock()),
      };
    },
    report: take,
    forget(workerId) {
      gone.add(workerId);
      for (const state of tokens.values()) {
        const holding = state.holdings.get(workerId);
        if (holding === undefined) continue;
        use(state, holding.permits, clock(), state.perMinute);
        state.holdings.delete(workerId);
      }
    },
  });
}
