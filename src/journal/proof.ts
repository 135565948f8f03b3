import { sql } from 'kysely';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { genesisHash, hashOfLine, receiptText } from './chain.ts';
import type { CheckpointKeys } from './checkpoint-keys.ts';
import { type Checkpoint, type CoveredStream, readCheckpoint } from './checkpoint-note.ts';
import { hashBytes, leavesOf, readHashes, readMonths } from './checkpoint-rows.ts';
import { type MerkleTree, merkleTree } from './merkle.ts';
import { isSignedBy, parseNote } from './note.ts';
import { readRetired } from './retired-note.ts';

/**
 * That a record is under a signed checkpoint, for somebody who has the public key of the deployment and nothing else of it. What is
 * checked, step by step: docs/examples/check-proof.mjs.
 */
export interface Proof {
  /** `<stream>.<seq>.<16 hex>` */
  readonly record: string;
  /** The record as it was written: canonical JSON (RFC 8785). */
  readonly line: string;
  /** Hex: of the record, and of the one before it in its stream. */
  readonly hash: string;
  readonly previousHash: string;
  /** The record's place among the leaves of the checkpoint's tree. */
  readonly leafIndex: number;
  readonly treeSize: number;
  /** Hex, from the leaf upwards (RFC 6962, 2.1.1). */
  readonly path: readonly string[];
  /** Its signed note. */
  readonly checkpoint: string;
  /** The notes that introduce the keys of this deployment, oldest first, each signed by the one before. */
  readonly introductions: readonly string[];
}

/** A record, as its row has it. */
export interface StoredLine {
  readonly stream: string;
  readonly seq: number;
  /** Hex. */
  readonly hash: string;
  readonly line: string;
}

export interface Prover {
  /** The months in which records lie: a look at one record by its stream names them. */
  months(): Promise<readonly string[]>;
  /** The month (`YYYY-MM-01`) that retention dropped the record with; null: with none. */
  goneWith(stream: string, seq: number): Promise<string | null>;
  /**
   * @returns the proof; where no checkpoint covers the record yet, when the last one was written (null: there is none).
   * @throws {SallyportError} CONFLICT: what is in the database does not fit its checkpoint; VAULT_SEALED; RATE_LIMITED: too many ask at once.
   */
  prove(record: StoredLine): Promise<Proof | { readonly lastAt: Date | null }>;
}

interface CoveringNote {
  readonly note: string;
  readonly checkpoint: Checkpoint;
}

/** What waits for its turn; a tree of the greatest size takes some 30 ms. */
const maxWaiting = 32;

/** Proofs are made one at a time, and the tree of the last one is kept: who asks for many asks for neighbours. */
export function createProver(deps: {
  readonly store: Pick<Store, 'asSystem'>;
  readonly keys: Pick<CheckpointKeys, 'known'>;
}): Prover {
  const { keys, store } = deps;
  let running: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  let kept: { readonly note: string; readonly tree: MerkleTree } | null = null;

  async function prove(record: StoredLine): Promise<Proof | { readonly lastAt: Date | null }> {
    const found = await store.asSystem((tx) => findNote(tx, record));
    if (found instanceof Date || found === null) return { lastAt: found };
    const { checkpoint, note } = readNote(found);
    const { keys: line, verifiers } = await keys.known();
    const parsed = parseNote(note);
    if (parsed === null || !verifiers.some((verifier) => isSignedBy(parsed, verifier)))
      unfit(checkpoint.number);
    const tree = await treeOf({ checkpoint, note });
    const previousHash = await hashBefore(record);
    if (hashOfLine(Buffer.from(record.line), record.hash, previousHash) !== record.hash)
      unfit(checkpoint.number);
    const leafIndex = placeIn(checkpoint.streams, record);
    if (!tree.has(leafIndex, Buffer.from(record.hash, 'hex'))) unfit(checkpoint.number);
    return {
      record: receiptText(record),
      line: record.line,
      hash: record.hash,
      previousHash,
      leafIndex,
      treeSize: checkpoint.size,
      path: tree.path(leafIndex).map((node) => node.toString('hex')),
      checkpoint: note,
      introductions: line.map((key) => key.note),
    };
  }

  /** Hashes alone are read: at most as many as a checkpoint has leaves. */
  async function treeOf({ checkpoint, note }: CoveringNote): Promise<MerkleTree> {
    if (kept?.note === note) return kept.tree;
    const hashes = await store.asSystem(async (tx) => {
      const months = await readMonths(tx);
      const parts: Buffer[] = [];
      for (const covered of checkpoint.streams) parts.push(await readHashes(tx, months, covered));
      return Buffer.concat(parts);
    });
    if (hashes.length !== checkpoint.size * hashBytes) unfit(checkpoint.number);
    const tree = merkleTree(leavesOf(hashes));
    if (tree.root.toString('hex') !== checkpoint.root) unfit(checkpoint.number);
    kept = { note, tree };
    return tree;
  }

  async function hashBefore({ seq, stream }: StoredLine): Promise<string> {
    if (seq === 0) return genesisHash;
    return store.asSystem(async (tx) => {
      const before = await readHashes(tx, await readMonths(tx), { stream, firstSeq: seq - 1, nextSeq: seq });
      // Where retention has dropped it, the last checkpoint over it names it.
      return before.length > 0 ? before.toString('hex') : ((await headBefore(tx, stream, seq)) ?? '');
    });
  }

  return Object.freeze<Prover>({
    months: () => store.asSystem(readMonths),
    async goneWith(stream, seq) {
      const { rows } = await store.asSystem((tx) =>
        sql<{
          note: string;
        }>`select note from retired_months where strpos(note, ${`\nstream ${stream} `}) > 0`.execute(tx),
      );
      for (const { note } of rows) {
        const parsed = parseNote(note);
        const stub = parsed === null ? null : readRetired(parsed);
        const isIn = stub?.streams.some(
          (one) => one.stream === stream && one.firstSeq <= seq && seq < one.nextSeq,
        );
        if (stub !== null && isIn === true) return stub.month;
      }
      return null;
    },
    async prove(record) {
      if (waiting >= maxWaiting) {
        throw new SallyportError('RATE_LIMITED', 'Too many proofs are asked for at once.', { retryAfter: 1 });
      }
      waiting += 1;
      const mine = running.then(() => prove(record)).finally(() => (waiting -= 1));
      running = mine.catch(() => {});
      return mine;
    },
  });
}

/** The note of the checkpoint that covers the record; else when the last one was written, null where there is none. */
async function findNote(tx: Tx, { seq, stream }: StoredLine): Promise<string | Date | null> {
  const { rows } = await sql<{ note: string }>`
    select c.note from (
      select number, next_seq from checkpoint_streams where stream = ${stream} and first_seq <= ${BigInt(seq)}
      order by first_seq desc limit 1) s join checkpoints c on c.number = s.number
    where s.next_seq > ${BigInt(seq)}`.execute(tx);
  if (rows[0] !== undefined) return rows[0].note;
  const last = await tx
    .selectFrom('checkpoints')
    .select('at')
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst();
  return last?.at ?? null;
}

/** Hex, of record `seq` - 1, where a checkpoint ends with it. */
async function headBefore(tx: Tx, stream: string, seq: number): Promise<string | undefined> {
  const { rows } = await sql<{ note: string }>`
    select c.note from checkpoint_streams s join checkpoints c on c.number = s.number
    where s.stream = ${stream} and s.next_seq = ${BigInt(seq)}`.execute(tx);
  const [row] = rows;
  return row && readNote(row.note).checkpoint.streams.find((covered) => covered.stream === stream)?.headHash;
}

function readNote(note: string): CoveringNote {
  const parsed = parseNote(note);
  const checkpoint = parsed === null ? null : readCheckpoint(parsed);
  return checkpoint === null ? unfit(null) : { note, checkpoint };
}

function placeIn(streams: readonly CoveredStream[], { seq, stream }: StoredLine): number {
  let before = 0;
  for (const { firstSeq, nextSeq, stream: name } of streams) {
    if (name === stream && firstSeq <= seq && seq < nextSeq) return before + seq - firstSeq;
    before += nextSeq - firstSeq;
  }
  return -1;
}

function unfit(number: number | null): never {
  const which =
    number === null ? 'The checkpoint over this record' : `Checkpoint ${number}, which is over this record,`;
  throw new SallyportError('CONFLICT', `${which} does not fit what is in the database: there is no proof.`, {
    fix: 'The operator finds out with bin/sallyport journal verify; records that were dropped by retention have no proof, nor their neighbours.',
  });
}
