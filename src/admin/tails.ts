import { SallyportError } from '../errors.ts';
import { eventStart } from './audit-filter.ts';
import { type AuditRow, viewRecord } from './audit-view.ts';
import type { Caller } from './caller.ts';
import type { Callers } from './callers.ts';
import { invalid } from './moment.ts';
import { can, demand } from './permissions.ts';
import { placeText, readPlace, type TailPlace } from './tail-place.ts';
import { cutStretches, type Stretch, type TailHeads, type TailReader } from './tail-reader.ts';
import { type OwnIds, passes, sees, type TailFilter } from './tail-sight.ts';

/** Where a tail's text goes. */
export interface TailSink {
  /** @returns bytes that wait for the client. */
  write(text: string): number;
  /** Resolves when little waits, or the client is gone. */
  drained(): Promise<void>;
  /** `isCut`: without an end that the client could take for one. */
  end(isCut: boolean): void;
}

export interface TailsDeps {
  readonly reader: TailReader;
  readonly callers: Pick<Callers, 'recheck'>;
  readonly clock: () => number;
  /** The database refused or is gone; tried again. */
  readonly onError: (error: unknown) => void;
  readonly pollMs?: number;
}

export type Tails = ReturnType<typeof createTails>;

const most = { ofCaller: 4, ofWorkspace: 16, inAll: 32 } as const;
/** Of one reading. */
const stretchRecords = 500;
/** A client that is so far behind is told of a gap. */
const mostCaughtUp = 100_000;
const maxWaitingBytes = 2 * 1024 * 1024;
const stalledBytes = 64 * 1024;
const recheckMs = 2_000;
const idleRecheckMs = 5_000;
const heartbeatMs = 15_000;

interface Tail {
  readonly caller: Caller;
  readonly filter: TailFilter;
  readonly sink: TailSink;
  own: OwnIds | null;
  checkedAt: number;
  saidAt: number;
  isJoined: boolean;
}

/**
 * Live tails of the journal: one reading a second for all of them, whatever they filter by, and none while there is no tail. What a
 * caller may see is asked anew before he is shown more.
 */
export function createTails({ reader, callers, clock, onError, pollMs = 1_000 }: TailsDeps) {
  const tails = new Set<Tail>();
  let shared: TailHeads = { at: 0, next: new Map(), updated: new Map() };
  let timer: NodeJS.Timeout | null = null;
  /** Readings and joins, one after another. */
  let turn: Promise<void> = Promise.resolve();
  let isClosed = false;

  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = turn.then(work);
    turn = done.then(
      () => undefined,
      () => undefined,
    );
    return done;
  }

  /** A clock that is set back must not keep what is due waiting, so both directions count. */
  const passedSince = (at: number): number => Math.abs(clock() - at);

  function drop(tail: Tail, code: string | null): void {
    if (!tails.delete(tail)) return;
    const waiting = code === null ? 0 : tail.sink.write(`event: end\ndata: ${JSON.stringify({ code })}\n\n`);
    // Who has not taken what came before would hold the connection, and never come to the end.
    tail.sink.end(code === null || waiting > stalledBytes);
    if (tails.size > 0 || timer === null) return;
    clearInterval(timer);
    timer = null;
  }

  /** May he still, and what is his? @returns false: he may not, and the tail has ended. */
  async function recheck(tail: Tail): Promise<boolean> {
    if (passedSince(tail.checkedAt) < recheckMs) return true;
    try {
      await callers.recheck(tail.caller);
    } catch (error) {
      if (!(error instanceof SallyportError) || error.code !== 'AUTH_INVALID') throw error;
      drop(tail, error.code);
      return false;
    }
    tail.own = await ownOf(tail.caller);
    tail.checkedAt = clock();
    return true;
  }

  async function ownOf(caller: Caller): Promise<OwnIds | null> {
    return can(caller.role, 'audit:all') ? null : reader.ownIds(caller.workspaceId, caller.userId);
  }

  function send(tail: Tail, text: string): void {
    tail.saidAt = clock();
    if (tail.sink.write(text) > maxWaitingBytes) drop(tail, null);
  }

  /** Each event names the place behind it. @returns the place behind the stretches. */
  function tell(
    tail: Tail,
    rows: readonly AuditRow[],
    from: TailPlace,
    stretches: readonly Stretch[],
  ): TailPlace {
    const next = new Map(from.next);
    let part = 0;
    for (const row of rows) {
      if (!tails.has(tail)) return from;
      while (stretches[part]?.stream !== row.stream) {
        const done = stretches[part++];
        if (done === undefined) return from;
        next.set(done.stream, done.until);
      }
      const entry = viewRecord(row);
      next.set(row.stream, entry.seq + 1);
      if (!sees(tail.caller, tail.own, row, entry) || !passes(tail.filter, row, entry)) continue;
      const id = placeText({ at: from.at, next });
      send(tail, `id: ${id}\nevent: record\ndata: ${JSON.stringify(entry)}\n\n`);
    }
    for (const { stream, until } of stretches) next.set(stream, until);
    return { at: from.at, next };
  }

  /** Tells everybody what has come, and leaves `shared` where the streams stand. */
  async function poll(): Promise<void> {
    for (;;) {
      const heads = await reader.heads();
      const listening = [...tails].filter(({ isJoined }) => isJoined);
      const stretches =
        listening.length === 0 ? [] : cutStretches(reader.between(shared, heads), stretchRecords);
      if (stretches.length === 0) {
        shared = heads;
        break;
      }
      for (const tail of listening) await recheck(tail);
      const found = new Map<string, AuditRow[]>();
      for (const id of new Set(listening.map(({ caller }) => caller.workspaceId)))
        found.set(id, await reader.rows(id, stretches));
      let behind: TailPlace = shared;
      for (const tail of listening)
        behind = tell(tail, found.get(tail.caller.workspaceId) ?? [], shared, stretches);
      shared = { ...behind, at: shared.at, updated: heads.updated };
    }
    for (const tail of tails) {
      // Those too that are coming in, at the pace of a client who may have stopped.
      if (passedSince(tail.checkedAt) >= idleRecheckMs) await recheck(tail);
      if (tails.has(tail) && tail.isJoined && passedSince(tail.saidAt) >= heartbeatMs)
        send(tail, `id: ${placeText(shared)}\n: still here\n\n`);
    }
  }

  function start(): void {
    if (timer !== null || isClosed) return;
    let isPolling = false;
    timer = setInterval(() => {
      if (isPolling) return;
      isPolling = true;
      void inTurn(poll)
        .catch(onError)
        .finally(() => (isPolling = false));
    }, pollMs).unref();
  }

  /** One step towards where the others are. @returns where it is now; null: it has come in. */
  async function approach(tail: Tail, since: TailPlace | null, isFirst: boolean): Promise<TailPlace | null> {
    await poll();
    if (since === null) {
      tail.isJoined = true;
      send(tail, `id: ${placeText(shared)}\n: from here\n\n`);
      return null;
    }
    const named = await reader.heads(since);
    const next = new Map([...named.next].filter(([stream]) => since.next.has(stream)));
    for (const [stream, seq] of shared.next) next.set(stream, seq);
    const behind = reader.between(since, { ...shared, next });
    const count = behind.reduce((sum, { from, until }) => sum + until - from, 0);
    if (isFirst && count > mostCaughtUp) {
      send(tail, `event: gap\ndata: ${JSON.stringify({ from: new Date(since.at).toISOString() })}\n\n`);
      tail.isJoined = true;
      return null;
    }
    const stretches = cutStretches(behind, stretchRecords);
    if (!(await recheck(tail))) return null;
    const place = tell(tail, await reader.rows(tail.caller.workspaceId, stretches), since, stretches);
    if (count > stretchRecords) return place;
    tail.isJoined = true;
    return null;
  }

  async function comeIn(tail: Tail, since: TailPlace | null): Promise<void> {
    let place = since;
    for (let isFirst = true; tails.has(tail) && !tail.isJoined; isFirst = false) {
      const from = place;
      place = await inTurn(() => approach(tail, from, isFirst));
      await tail.sink.drained();
    }
  }

  return Object.freeze({
    /**
     * @param lastEventId of an event that the client had; null: from now on.
     * @returns to be called when the client is gone.
     * @throws {SallyportError} REQUEST_INVALID; RATE_LIMITED: four of this caller, 16 of his workspace or 32 in all are open; SHUTTING_DOWN.
     */
    async open(
      caller: Caller,
      filter: TailFilter,
      lastEventId: string | null,
      sink: TailSink,
    ): Promise<() => void> {
      demand(caller, 'audit:read');
      if (filter.event !== undefined) eventStart(filter.event);
      const since = lastEventId === null ? null : readPlace(lastEventId);
      if (lastEventId !== null && since === null) throw invalid('/last-event-id', 'is of no event of a tail');
      if (isClosed) throw new SallyportError('SHUTTING_DOWN', 'The gateway is stopping.');
      const neighbours = [...tails].filter((tail) => tail.caller.workspaceId === caller.workspaceId);
      const own = neighbours.filter((tail) => tail.caller.id === caller.id);
      if (own.length >= most.ofCaller || neighbours.length >= most.ofWorkspace || tails.size >= most.inAll)
        throw new SallyportError('RATE_LIMITED', 'Too many tails are open.', { retryAfter: 5 });
      const now = clock();
      const tail: Tail = { caller, filter, sink, own: null, checkedAt: now, saidAt: now, isJoined: false };
      tails.add(tail);
      try {
        tail.own = await ownOf(caller);
      } catch (error) {
        tails.delete(tail);
        throw error;
      }
      start();
      comeIn(tail, since).catch((error: unknown) => {
        onError(error);
        // Its client comes again, with the last place that it had.
        drop(tail, null);
      });
      return () => drop(tail, null);
    },

    count: () => tails.size,

    /** Ends them all. */
    close(): void {
      isClosed = true;
      for (const tail of tails) drop(tail, 'SHUTTING_DOWN');
    },
  });
}
