import { sql } from 'kysely';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import type { CheckpointKeys, KnownKeys } from './checkpoint-keys.ts';
import { checkpointText, type CoveredStream, noCheckpoint, readCheckpoint } from './checkpoint-note.ts';
import {
  type CheckpointRow,
  hashBytes,
  leavesOf,
  readHashes,
  readLastCheckpoint,
  readMonths,
  readUncovered,
  type Uncovered,
} from './checkpoint-rows.ts';
import type { Fault } from './cursor.ts';
import type { Journal } from './journal.ts';
import { merkleTree } from './merkle.ts';
import { isSignedBy, noteHash, type NoteSigner, parseNote, signedNote, verifierText } from './note.ts';

export interface CheckpointsDeps {
  readonly store: Pick<Store, 'asSystem'>;
  readonly journal: Pick<Journal, 'append'>;
  readonly keys: CheckpointKeys;
  readonly clock: () => number;
  /** A checkpoint at the latest so long after new records, or when so many of them wait. */
  readonly everyMs?: number;
  readonly everyRecords?: number;
  /** Leaves of one tree; what waits beyond goes into the next one, at once. */
  readonly maxRecords?: number;
  /** A stream whose records are not what the shipper left: it gets into no checkpoint. */
  readonly onFault: (fault: Fault) => void;
}

export interface Checkpoints {
  /**
   * Writes what is due; nothing where another node is at it.
   *
   * @returns the notes written, oldest first.
   * @throws {SallyportError} VAULT_SEALED; CONFLICT: the last checkpoint is none of ours, and nothing is signed on top of it.
   */
  write(options?: { readonly isForced?: boolean }): Promise<readonly string[]>;
  /** Seconds since the last checkpoint, 0 while no record waits for one; as of the last `write`. */
  age(): number;
}

/** A record in the database waits no longer for its checkpoint. */
export const checkpointEveryMs = 60_000;
/** One of the application's own advisory locks: of the nodes one writes at a time. Of the transaction, for a pooler's sake. */
const writingLock = 0x73_70_63_70;
const maxStreams = 1000;
/** Of one `write`: what is left is for the next. */
const maxAtOnce = 32;

interface Look {
  readonly last: CheckpointRow | undefined;
  readonly uncovered: readonly Uncovered[];
}

/**
 * Signed checkpoints of what is in the database. Whichever node comes first writes the next one; the number is a primary key, so there
 * are no two of one number.
 */
export function createCheckpoints(deps: CheckpointsDeps): Checkpoints {
  const { clock, journal, keys, store } = deps;
  const { everyMs = checkpointEveryMs, everyRecords = 1000, maxRecords = 16_384 } = deps;
  /** Streams that are held back, and since when. */
  const held = new Map<string, number>();
  let told = '';
  /** The last note written here. */
  let ours = '';
  let waitsSince: number | null = null;

  async function look(tx: Tx): Promise<Look> {
    const uncovered = await readUncovered(tx);
    return {
      last: await readLastCheckpoint(tx),
      uncovered: uncovered.filter(({ stream }) => !isHeld(stream)),
    };
  }

  function isHeld(stream: string): boolean {
    const since = held.get(stream);
    if (since === undefined || Math.abs(clock() - since) < everyMs) return since !== undefined;
    held.delete(stream);
    return false;
  }

  function isDue({ last, uncovered }: Look): boolean {
    const waiting = uncovered.reduce((sum, { firstSeq, nextSeq }) => sum + nextSeq - firstSeq, 0);
    if (waiting === 0) return false;
    // Another node's clock may be ahead of ours.
    return waiting >= everyRecords || last === undefined || Math.abs(clock() - last.at.getTime()) >= everyMs;
  }

  /** The key that signs, and, when it does so for the first time here, its introduction: it goes on record, too. */
  async function takeSigner(): Promise<{
    readonly signer: NoteSigner;
    readonly introduction: string | null;
  }> {
    const signer = await keys.signer();
    if (told === signer.id) return { signer, introduction: null };
    const introduction = await keys.introduction(signer.id);
    const record = {
      workspaceId: null,
      actor: { type: 'system', id: 'checkpoints' },
      signingKeyId: signer.id,
      publicKey: verifierText({ name: keys.name, publicKey: signer.publicKey }),
      introduction,
    };
    // A closed journal takes it the next time; what was shipped before it closed gets its checkpoint.
    await journal.append('checkpoint.key', record).then(
      () => void (told = signer.id),
      () => {},
    );
    return { signer, introduction };
  }

  async function next(tx: Tx, seen: Look, signer: NoteSigner): Promise<string | null> {
    const { rows } = await sql<{
      held: boolean;
    }>`select pg_try_advisory_xact_lock(${writingLock}) as held`.execute(tx);
    if (rows[0]?.held !== true) return null;
    const { last, uncovered } = await look(tx);
    // Another node was here since the last one was looked at.
    if (last?.number !== seen.last?.number || last?.note !== seen.last?.note) return null;
    const { leaves, streams } = await collect(tx, uncovered);
    if (leaves.length === 0) return null;
    const number = (last?.number ?? 0n) + 1n;
    const at = new Date(clock());
    const text = checkpointText(keys.name, {
      number: Number(number),
      at: at.toISOString(),
      size: leaves.length,
      root: merkleTree(leaves).root.toString('hex'),
      previous: last === undefined ? noCheckpoint : hashOf(last),
      streams,
    });
    const note = signedNote(keys.name, text, [signer]);
    await tx.insertInto('checkpoints').values({ number, at, note }).execute();
    await tx
      .insertInto('checkpoint_streams')
      .values(
        streams.map(({ firstSeq, nextSeq, stream }) => ({
          stream,
          first_seq: BigInt(firstSeq),
          next_seq: BigInt(nextSeq),
          number,
        })),
      )
      .execute();
    return note;
  }

  async function collect(tx: Tx, uncovered: readonly Uncovered[]) {
    const months = await readMonths(tx);
    const leaves: Buffer[] = [];
    const streams: CoveredStream[] = [];
    for (const { firstSeq, headHash, nextSeq, stream } of uncovered.slice(0, maxStreams)) {
      const until = Math.min(nextSeq, firstSeq + maxRecords - leaves.length);
      if (until <= firstSeq) break;
      const hashes = await readHashes(tx, months, { stream, firstSeq, nextSeq: until });
      const head = hashes.toString('hex', Math.max(0, hashes.length - hashBytes));
      const isWhole = hashes.length === (until - firstSeq) * hashBytes;
      if (!isWhole || (until === nextSeq && head !== headHash)) {
        held.set(stream, clock());
        const kind = isWhole ? 'mismatch' : 'missing';
        deps.onFault({ stream, seq: firstSeq, kind, message: 'What was shipped is not what is there.' });
        continue;
      }
      leaves.push(...leavesOf(hashes));
      streams.push({ stream, firstSeq, nextSeq: until, headHash: head });
    }
    return { leaves, streams };
  }

  async function write(isForced: boolean): Promise<readonly string[]> {
    const notes: string[] = [];
    for (let i = 0; i < maxAtOnce; i += 1) {
      const seen = await store.asSystem(look);
      waitsSince = seen.uncovered.length === 0 ? null : (seen.last?.at.getTime() ?? waitsSince ?? clock());
      if (seen.uncovered.length === 0 || !(isDue(seen) || (isForced && i === 0))) break;
      if (seen.last !== undefined && seen.last.note !== ours) demandOurs(seen.last, await keys.known());
      const { introduction, signer } = await takeSigner();
      if (introduction !== null) notes.push(introduction);
      const note = await store.asSystem((tx) => next(tx, seen, signer));
      if (note === null) break;
      ours = note;
      notes.push(note);
    }
    return notes;
  }

  return Object.freeze<Checkpoints>({
    async write({ isForced = false } = {}) {
      try {
        return await write(isForced);
      } catch (error) {
        // Nobody knows whether any wait.
        waitsSince ??= clock();
        throw error;
      }
    },
    age: () => (waitsSince === null ? 0 : Math.max(0, clock() - waitsSince) / 1000),
  });
}

function hashOf({ note }: CheckpointRow): string {
  const parsed = parseNote(note);
  return parsed === null ? noCheckpoint : noteHash(parsed);
}

/** Our signature says that what is before it is ours, too. */
function demandOurs({ note, number }: CheckpointRow, { verifiers }: KnownKeys): void {
  const parsed = parseNote(note);
  const isOurs =
    parsed !== null &&
    readCheckpoint(parsed)?.number === Number(number) &&
    verifiers.some((verifier) => isSignedBy(parsed, verifier));
  if (isOurs) return;
  throw new SallyportError('CONFLICT', `Checkpoint ${number} in the database is none that was signed here.`, {
    fix: 'Nothing is signed on top of it. Put its row back as the copies of the checkpoints have it.',
  });
}
