import { isDatabaseGone } from '../db/connection.ts';
import { ensureMonths } from '../db/months.ts';
import type { Store } from '../db/store.ts';
import { createCursor, type Cursor, type Fault } from './cursor.ts';
import type { Journal } from './journal.ts';
import { removeOrphans, removeShipped } from './removal.ts';
import { readPosition, shipBatch } from './ship-batch.ts';
import { createPacking, type Load, loadShipment } from './shipment.ts';
import { listStreams } from './stream-files.ts';
import { lagOf, placeOf, track, type Tracked } from './tracked.ts';

export interface ShipperOptions {
  readonly store: Pick<Store, 'asSystem'>;
  readonly journal: Pick<Journal, 'dir' | 'locks' | 'own' | 'oldestOpen' | 'onAcknowledged' | 'measure'>;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Leaves the streams of processes that are gone to another one of this folder. */
  readonly isOwnOnly?: boolean;
  /** Between two looks while there is something to do or the database is gone; at most 500. */
  readonly intervalMs?: number;
  /** A stream doesn't fit what is in the database, or is damaged: shipping of this stream has stopped. */
  readonly onAlarm?: (fault: Fault) => void;
  /** The database refused or is gone; tried again after `intervalMs`. */
  readonly onError?: (error: unknown) => void;
}

/** Records acknowledged and not yet in the database, their bytes, and the age of the oldest of them. */
export interface Lag {
  readonly records: number;
  readonly bytes: number;
  readonly seconds: number;
}

export interface Shipper {
  start(): void;
  /** Ships all that is there now. Rejects when the database refuses or is gone. */
  flush(): Promise<void>;
  /** Ends after the batch that is under way. */
  stop(): Promise<void>;
  lag(): Lag;
}

/** Streams of other processes are looked for once in so many intervals; appends of our own prompt by themselves. */
const rescanEvery = 20;

/**
 * Carries the files' records into the database: own streams as far as acknowledged, and streams of this folder whose writer is
 * gone. One batch, one transaction (ship-batch.ts). Appends prompt it, so rows are visible well within 2 s.
 */
export function createShipper(options: ShipperOptions): Shipper {
  const { clock, journal, store, intervalMs = 250, isOwnOnly = false } = options;
  const tracked = new Map<string, Tracked>();
  /** One shipment is being made while the other is on its way. */
  const packings = [createPacking(), createPacking()] as const;
  let made = 0;
  let timer: NodeJS.Timeout | null = null;
  let running: Promise<void> = Promise.resolve();
  let isStarted = false;
  let isPrompted = true;
  let quiet = 0;
  /** When the oldest record that isn't shipped was made, as far as known. */
  let waitingSince: number | null = null;
  let preparedDay = '';
  let unlisten: () => void = () => undefined;

  async function pass(): Promise<void> {
    isPrompted = false;
    const own = new Map(journal.own().map((head) => [head.stream, head]));
    const present = await listStreams(journal.dir);
    const streams = isOwnOnly ? present.filter(({ stream }) => own.has(stream)) : present;
    // Before the database is asked: `lag` must know of them while it is gone.
    for (const files of streams) {
      const one = tracked.get(files.stream) ?? (await track(journal.dir, files));
      tracked.set(files.stream, one);
      if (own.has(files.stream)) continue;
      one.lock ??= journal.locks.take(files.base);
      if (one.lock !== null && one.position === null)
        waitingSince = Math.min(waitingSince ?? Infinity, one.firstAt ?? clock());
    }
    await prepareMonths();
    for (const files of streams) {
      const one = tracked.get(files.stream);
      const head = own.get(files.stream);
      if (one === undefined || one.isStopped || one.isAll) continue;
      // Its process lives and ships it.
      if (head === undefined && one.lock === null) continue;
      const until = Math.min(head?.seq ?? Infinity, files.condemnedAfter?.seq ?? Infinity) + 1;
      await shipStream(one, until);
      if (head === undefined && !one.isStopped) one.isAll = true;
    }
    await removeShipped(
      journal,
      new Map(
        [...tracked].map(([stream, one]) => [
          stream,
          { nextSeq: one.position?.nextSeq ?? 0, isAll: one.isAll },
        ]),
      ),
    );
    await forgetGone();
    if (lagOf(journal.own(), tracked).records === 0) waitingSince = null;
  }

  function load(cursor: Cursor, until: number): Promise<Load> {
    made += 1;
    return loadShipment(cursor, until, packings[made % 2 === 0 ? 0 : 1]);
  }

  async function shipStream(one: Tracked, until: number): Promise<void> {
    let ahead: Promise<Load> | null = null;
    for (;;) {
      if (one.cursor === null || one.position === null) {
        ahead = null;
        const position = await store.asSystem((tx) => readPosition(tx, one.stream));
        one.position = position;
        one.cursor = createCursor(journal.dir, one.stream, {
          seq: position.nextSeq,
          hash: position.headHash,
          place: placeOf(one, position),
        });
      }
      if (one.position.nextSeq > until)
        return halt(one, beyond(one, until, 'the database holds more of this stream than was acknowledged'));
      if (one.position.nextSeq === until) return;
      const { shipment, end, fault, isAtEnd } = await (ahead ?? load(one.cursor, until)).catch(
        async (error: unknown) => {
          // The cursor is ahead of what was handed over.
          await reset(one);
          throw error;
        },
      );
      ahead = null;
      if (shipment !== null) {
        const from = one.position;
        one.marks = [
          { position: from, place: placeOf(one, from) },
          { position: shipment.next, place: end },
        ];
        waitingSince = Date.parse(shipment.firstAt) || clock();
        const now = new Date(clock()).toISOString();
        const shipping = store.asSystem((tx) => shipBatch(tx, from, shipment, now));
        // Read on meanwhile: the database is busy with the batch about as long as the next one takes here.
        if (!isAtEnd) ahead = load(one.cursor, until);
        const [result] = await Promise.allSettled([shipping, ahead]);
        if (result.status === 'rejected') {
          // The cursor is ahead of what is in the database, and a COMMIT may have gone through or not.
          await reset(one);
          throw result.reason;
        }
        const found = result.value;
        if (found.nextSeq === shipment.next.nextSeq && found.headHash === shipment.next.headHash) {
          one.position = found;
          one.shippedBytes += shipment.bytes;
        } else if (found.nextSeq === from.nextSeq) {
          return halt(one, beyond(one, from.nextSeq, 'the database has another hash before this record'));
        } else {
          // Another shipper was quicker: read on from where it is, comparing hashes there.
          await reset(one);
          continue;
        }
      }
      if (fault !== null) return halt(one, fault);
      if (!isAtEnd) continue;
      const isShort = one.cursor.place() !== null && one.cursor.nextSeq() < one.position.nextSeq;
      return isShort
        ? halt(one, beyond(one, one.cursor.nextSeq(), 'the file ends before what is in the database'))
        : undefined;
    }
  }

  async function halt(one: Tracked, fault: Fault): Promise<void> {
    one.isStopped = true;
    await reset(one);
    options.onAlarm?.(fault);
  }

  async function reset(one: Tracked): Promise<void> {
    const { cursor } = one;
    one.cursor = null;
    await cursor?.close();
  }

  /** Every day the partitions of this month and the next; without one, rows lie in the default partition and nothing is lost. */
  async function prepareMonths(): Promise<void> {
    const now = new Date(clock());
    const day = now.toISOString().slice(0, 10);
    if (day === preparedDay) return;
    await ensureMonths(store, now).catch((error: unknown) => {
      if (isDatabaseGone(error)) throw error;
      // A clock that is years ahead, a lock that isn't had: what comes lies in the default partition, and tomorrow it is tried again.
      options.onError?.(error);
    });
    preparedDay = day;
    if (!isOwnOnly) await removeOrphans(journal);
  }

  function beyond(one: Tracked, seq: number, message: string): Fault {
    return { stream: one.stream, seq, kind: 'mismatch', message };
  }

  async function forgetGone(): Promise<void> {
    const present = new Set((await listStreams(journal.dir)).map(({ stream }) => stream));
    for (const [stream, one] of tracked) {
      if (present.has(stream)) continue;
      tracked.delete(stream);
      await reset(one);
      one.lock?.release();
    }
  }

  function run(): Promise<void> {
    running = running.catch(() => undefined).then(pass);
    return running;
  }

  function schedule(): void {
    timer = setTimeout(() => {
      quiet += 1;
      if (!isPrompted && quiet < rescanEvery) {
        schedule();
        return;
      }
      quiet = 0;
      run()
        .catch((error: unknown) => {
          isPrompted = true;
          options.onError?.(error);
        })
        .finally(() => {
          if (isStarted) schedule();
        });
    }, intervalMs);
  }

  return Object.freeze({
    start() {
      if (isStarted) return;
      isStarted = true;
      unlisten = journal.onAcknowledged(() => {
        isPrompted = true;
        waitingSince ??= clock();
      });
      schedule();
    },
    flush: () => run(),
    async stop() {
      isStarted = false;
      unlisten();
      if (timer !== null) clearTimeout(timer);
      await running.catch(() => undefined);
      for (const one of tracked.values()) {
        await reset(one);
        one.lock?.release();
      }
      tracked.clear();
    },
    lag(): Lag {
      const { bytes, records } = lagOf(journal.own(), tracked);
      const seconds = records === 0 || waitingSince === null ? 0 : Math.max(0, clock() - waitingSince) / 1000;
      return { records, bytes, seconds };
    },
  });
}
