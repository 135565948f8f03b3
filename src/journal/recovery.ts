import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import type { ActLookup } from './act-lookup.ts';
import type { JsonValue } from './canonical.ts';
import type { JournalRecord } from './chain.ts';
import { createCursor, type Fault } from './cursor.ts';
import { diskFiles } from './file-seam.ts';
import type { Fields, Journal } from './journal.ts';
import { lastCounted, lostMark } from './lost-mark.ts';
import { dutyOf, idText } from './obligations.ts';
import { listStreams, type StreamFiles } from './stream-files.ts';
import type { StreamLock } from './stream-lock.ts';
import { useIdentity } from './use-identity.ts';

export interface RecoveryOptions {
  readonly journal: Pick<Journal, 'dir' | 'locks' | 'appendRecovered' | 'own'>;
  readonly lookup: ActLookup;
  /** A stream is damaged: it is kept as it is, not settled, and shipped up to there. */
  readonly onFault?: (fault: Fault) => void;
}

export interface Recovered {
  readonly calls: number;
  readonly acts: number;
  /** Intents whose outcome nobody could say; settle again when the database is back. */
  readonly openActs: number;
  /** Streams whose last line was torn and cut off. */
  readonly torn: number;
  readonly faults: readonly Fault[];
}

/** A begin or intent that waits for its end, and the time of the last record of its stream. */
interface Open {
  readonly record: JournalRecord;
  readonly owner: Dead;
}

interface Books {
  readonly open: Map<string, Open>;
  /** Ends that came before what they end: by a process that lived on when the other died, in its older stream. */
  readonly ended: Set<string>;
}

interface Dead {
  readonly files: StreamFiles;
  readonly lock: StreamLock;
  lastAt: string;
  isDamaged: boolean;
  hasOpenActs: boolean;
}

/**
 * Ends what crashed processes of this folder began: each `use.begin` without its end gets a `use.end` with outcome `crash` in
 * our stream, each intent its `.done` or `.failed`. At a start, and by a living process when one beside it has died.
 *
 * Exactly once, also when we crash half way: ends are looked for in every stream that isn't settled, ours included, and a
 * stream is marked settled (and may only then be deleted) after the ends are durable, oldest first. One at a time in a folder,
 * and only in streams whose lock is free.
 */
export async function settleCrashed({ journal, lookup, onFault }: RecoveryOptions): Promise<Recovered> {
  const alone = journal.locks.takeAlone(join(journal.dir, 'recovery'));
  if (alone === null) return { calls: 0, acts: 0, openActs: 0, torn: 0, faults: [] };
  const dead: Dead[] = [];
  const faults: Fault[] = [];
  try {
    const own = new Map(journal.own().map(({ stream, seq }) => [stream, seq]));
    const books: Books = { open: new Map(), ended: new Set() };
    const living: StreamFiles[] = [];
    let torn = 0;
    for (const files of await listStreams(journal.dir)) {
      if (files.isSettled) continue;
      const lock = own.has(files.stream) ? null : journal.locks.take(files.base);
      if (lock === null) {
        living.push(files);
        continue;
      }
      const owner = { files, lock, lastAt: '', isDamaged: false, hasOpenActs: false };
      dead.push(owner);
      const fault = await scan(journal.dir, files, undefined, owner, books);
      if (fault === 'torn') {
        torn += await cutTail(journal, files);
      } else if (fault !== null) {
        owner.isDamaged = true;
        faults.push(fault);
        onFault?.(fault);
      }
    }
    const { open } = books;
    if (open.size > 0) {
      for (const files of living) await scan(journal.dir, files, own.get(files.stream), null, books);
    }
    const waiting = [...open.values()].filter(({ owner }) => !owner.isDamaged);
    const calls = waiting.filter(({ record }) => record.event === 'use.begin');
    const last = lastAttempts(calls);
    await Promise.all(
      calls.map(({ record, owner }) =>
        journal.appendRecovered(
          'use.end',
          crashEnd(record, owner.lastAt, last.get(record['callId']) === record),
        ),
      ),
    );
    const acts = waiting.filter(({ record }) => record.event !== 'use.begin');
    let openActs = 0;
    for (const { record, owner } of acts) {
      const isDone = await lookup(idText(record['actId']), idText(record['workspaceId'])).catch(() => null);
      if (isDone === null) {
        openActs += 1;
        owner.hasOpenActs = true;
      } else {
        const event = record.event.replace(/\.intent$/, isDone ? '.done' : '.failed');
        await journal.appendRecovered(event, outcome(record, isDone));
      }
    }
    for (const { files, hasOpenActs, isDamaged } of dead) {
      // A later stream may hold the ends of an earlier one: it must not go before that is settled.
      if (hasOpenActs) break;
      if (!isDamaged) await diskFiles.put(`${files.base}.settled`, '');
    }
    return { calls: calls.length, acts: acts.length - openActs, openActs, torn, faults };
  } finally {
    for (const { lock } of dead) lock.release();
    alone.release();
  }
}

/**
 * Opens and closes what the stream says. `owner` null: its writer lives, so only its ends count, as far as acknowledged. Where nobody
 * can say how far that is, all its ends count: rather is a call left open than ended twice.
 */
async function scan(
  dir: string,
  files: StreamFiles,
  acknowledged: number | undefined,
  owner: Dead | null,
  { open, ended }: Books,
): Promise<Fault | 'torn' | null> {
  const until = Math.min(acknowledged ?? Infinity, lastCounted(files)) + 1;
  const cursor = createCursor(dir, files.stream, { seq: files.segments[0]?.firstSeq ?? 0, hash: null });
  try {
    for (;;) {
      const { records, fault, isAtEnd, unfinished } = await cursor.read(until);
      for (const { record } of records) {
        const { opens, closes } = dutyOf(record.event, record);
        if (closes !== null) {
          if (!open.delete(closes) && owner !== null) ended.add(closes);
        } else if (opens !== null && owner !== null && !ended.has(opens)) {
          open.set(opens, { record, owner });
        }
        if (owner !== null) owner.lastAt = record.at;
      }
      if (fault !== null) return fault;
      if (!isAtEnd) continue;
      return lostMark(files) ?? (unfinished > 0 && files.condemnedAfter === null ? 'torn' : null);
    }
  } finally {
    await cursor.close();
  }
}

/** The crash came in mid-line. Noted first: a cut without a note would be a repair in silence. */
async function cutTail(journal: RecoveryOptions['journal'], files: StreamFiles): Promise<number> {
  const segment = files.segments.at(-1);
  if (segment === undefined) return 0;
  const cursor = createCursor(journal.dir, files.stream, { seq: segment.firstSeq, hash: null });
  try {
    let end = await cursor.read(Infinity);
    while (!end.isAtEnd) end = await cursor.read(Infinity);
    const place = cursor.place();
    if (place === null || end.unfinished === 0) return 0;
    await journal.appendRecovered('stream.torn', {
      tornStream: files.stream,
      tornSeq: cursor.nextSeq(),
      cutBytes: end.unfinished,
    });
    await truncate(place.path, place.offset);
    return 1;
  } finally {
    await cursor.close();
  }
}

/** A repeat's begin stands before the end of the attempt that it repeats: of a call's open attempts the last one is final. */
function lastAttempts(calls: readonly Open[]): Map<JsonValue | undefined, JournalRecord> {
  const last = new Map<JsonValue | undefined, JournalRecord>();
  for (const { record } of calls) {
    const known = last.get(record['callId']);
    if (known === undefined || Number(known['attempt']) < Number(record['attempt']))
      last.set(record['callId'], record);
  }
  return last;
}

/** Nobody knows what the provider counted or charged: null, not 0. It ended between the stream's last record and now. */
function crashEnd(begin: JournalRecord, lastAt: string, final: boolean): Fields {
  return {
    ...useIdentity(begin),
    final,
    endedAt: lastAt,
    outcome: 'crash',
    status: null,
    endReason: 'crash',
    upstreamRequestId: null,
    firstByteMs: null,
    totalMs: null,
    requestBytes: null,
    responseBytes: null,
    usage: null,
    usageSource: 'unknown',
    providerUsage: null,
    costNanoUsd: null,
    priceVersion: null,
  };
}

function outcome(intent: JournalRecord, isDone: boolean): Fields {
  return {
    actId: intent['actId'] ?? null,
    workspaceId: intent['workspaceId'] ?? null,
    actor: intent['actor'] ?? null,
    intentStream: intent.stream,
    intentSeq: intent.seq,
    isRecovered: true,
    ...(isDone ? {} : { code: 'INTERNAL' }),
  };
}
