import { isDatabaseGone } from '../db/connection.ts';
import { ensureMonths } from '../db/months.ts';
import type { Store } from '../db/store.ts';
import { createCursor, type Cursor, type Fault } from './cursor.ts';
import type { Journal } from './journal.ts';
import { lastCounted, lostMark } from './lost-mark.ts';
import { removeOrphans, removeShipped } from './removal.ts';
import { readPosition, shipBatch } from './ship-batch.ts';
import { createPacking, type Load, loadShipment } from './shipment.ts';
import { listStreams, type StreamFiles } from './stream-files.ts';
import { lagOf, placeOf, track, type Tracked } from './tracked.ts';
import { createUnreadable } from './unreadable.ts';

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
  /**
   * The database refused or is gone; tried again after `intervalMs`. With a stream: its files could not be read; the others go on, and
   * it is tried again within a minute.
   */
  readonly onError?: (error: unknown, stream?: string) => void;
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
  const unreadable = createUnreadable(clock);
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
      if (unreadable.has(files.stream)) continue;
      await meet(files, own.has(files.stream)).catch((error: unknown) => putOff(files.stream, error));
    }
    await prepareMonths();
    for (const files of streams) {
      const one = tracked.get(files.stream);
      const head = own.get(files.stream);
      if (one === undefined || one.isStopped || one.isAll || unreadable.has(files.stream)) continue;
      // Its process lives and ships it.
      if (head === undefined && one.lock === null) continue;
      if (head === undefined && isKeptAside(one, files)) continue;
      const until = Math.min(head?.seq ?? Infinity, lastCounted(files)) + 1;
      if (!(await shipStream(one, until))) continue;
      unreadable.delete(files.stream);
      if (head === undefined) one.isAll = true;
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

  async function meet(files: StreamFiles, isOwn: boolean): Promise<void> {
    const one = tracked.get(files.stream) ?? (await track(journal.dir, files));
    tracked.set(files.stream, one);
    if (isOwn) return;
    one.lock ??= journal.locks.take(files.base);
    if (one.lock !== null && one.position === null)
      waitingSince = Math.min(waitingSince ?? Infinity, one.firstAt ?? clock());
  }

  /** Once its mark can be read it goes on. */
  function isKeptAside(one: Tracked, files: StreamFiles): boolean {
    const fault = lostMark(files);
    if (fault !== null && !one.isMarkLost) options.onAlarm?.(fault);
    one.isMarkLost = fault !== null;
    return one.isMarkLost;
  }

  /** One stream's files must not keep back those of the others. */
  function putOff(stream: string, error: unknown): void {
    unreadable.add(stream);
    options.onError?.(error, stream);
  }

  function load(cursor: Cursor, until: number): Promise<Load> {
    made += 1;
    return loadShipment(cursor, until, packings[made % 2 === 0 ? 0 : 1]);
  }

  /** @returns whether all of it is in the database; throws what the database says. */
  async function shipStream(one: Tracked, until: number): Promise<boolean> {
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
      if (one.position.nextSeq === until) return true;
      const loaded = await (ahead ?? load(one.cursor, until)).catch(async (error: unknown) => {
        // The cursor is ahead of what was handed over.
        await reset(one);
        putOff(one.stream, error);
        return null;
      });
      if (loaded === null) return false;
      const { shipment, end, fault, isAtEnd } = loaded;
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
        : true;
    }
  }

  async function halt(one: Tracked, fault: Fault): Promise<false> {
    one.isStopped = true;
    await reset(one);
    options.onAlarm?.(fault);
    return false;
  }

  async function reset(one: Tracked): Promise<void> {
    const { cursor } = one;
    one.cursor = null;
    // It was only read.
    await cursor?.close().catch(() => undefined);
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
      unreadable.delete(stream);
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
