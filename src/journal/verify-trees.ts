import { sql } from 'kysely';
import type { Store } from '../db/store.ts';
import type { Checkpoint, CoveredStream } from './checkpoint-note.ts';
import { hashBytes, leavesOf, readHashes } from './checkpoint-rows.ts';
import type { Fault } from './cursor.ts';
import { merkleTree } from './merkle.ts';
import type { Retired } from './verify-retired.ts';
import type { Pace } from './verify-pace.ts';

interface Deps {
  readonly store: Pick<Store, 'asSystem'>;
  readonly months: readonly string[];
  readonly retired: Retired;
  readonly pace: Pace;
}

/** A stretch of one stream that several checkpoints follow one another in, read at once. */
interface Stretch extends Omit<CoveredStream, 'headHash'> {
  readonly hashes: Buffer;
}

/** Reckons the trees of these checkpoints anew from the records of the database. */
export async function checkTrees(
  { months, pace, retired, store }: Deps,
  checkpoints: readonly Checkpoint[],
  report: (fault: Fault) => void,
): Promise<void> {
  const stretches = new Map<string, Stretch>();
  for (const wanted of stretchesOf(checkpoints)) {
    const hashes = await store.asSystem((tx) => readHashes(tx, months, wanted));
    stretches.set(wanted.stream, { ...wanted, hashes });
    await pace.turn();
  }
  for (const { number, root, streams } of checkpoints) {
    const leaves: Buffer[] = [];
    let isTold = false;
    for (const covered of streams) {
      const hashes = await hashesOf(covered, stretches.get(covered.stream));
      const { firstSeq, headHash, nextSeq, stream } = covered;
      const gone = retired.countIn(covered);
      if (gone > 0 && hashes.length === (nextSeq - firstSeq - gone) * hashBytes) {
        // The tree went with its leaves. Where the stub ends with it, both name one hash; what is left is chained to its last one.
        isTold = true;
        const stub = retired.at(stream, nextSeq - 1);
        const last = hashes.toString('hex', Math.max(0, hashes.length - hashBytes));
        const found = stub === null ? last : stub.nextSeq === nextSeq ? stub.headHash : headHash;
        const message = `Checkpoint ${number} names another hash for this record${stub === null ? '' : ' than the stub of its month'}.`;
        if (found !== headHash) report({ stream, seq: nextSeq - 1, kind: 'checkpoint', message });
      } else if (hashes.length !== (nextSeq - firstSeq) * hashBytes) {
        isTold = true;
        const seq = await firstMissing(covered);
        const message = `Checkpoint ${number} covers records ${firstSeq} to ${nextSeq - 1}: not all of them are there.`;
        report({ stream, seq, kind: 'missing', message });
      } else if (hashes.toString('hex', hashes.length - hashBytes) !== headHash) {
        isTold = true;
        const message = `Checkpoint ${number} names another hash for this record.`;
        report({ stream, seq: nextSeq - 1, kind: 'checkpoint', message });
      }
      leaves.push(...leavesOf(hashes));
    }
    if (!isTold && merkleTree(leaves).root.toString('hex') !== root) {
      const message = 'Its root is not that of the records that it covers.';
      report({ stream: 'checkpoints', seq: number, kind: 'checkpoint', message });
    }
    await pace.turn();
  }

  async function hashesOf(covered: CoveredStream, stretch: Stretch | undefined): Promise<Buffer> {
    // Years of checkpoints may be left of months that went: nobody is asked for what is not there.
    if (retired.countIn(covered) === covered.nextSeq - covered.firstSeq) return Buffer.alloc(0);
    const isWhole =
      stretch !== undefined && stretch.hashes.length === (stretch.nextSeq - stretch.firstSeq) * hashBytes;
    if (!isWhole) return store.asSystem((tx) => readHashes(tx, months, covered));
    const at = (covered.firstSeq - stretch.firstSeq) * hashBytes;
    return stretch.hashes.subarray(at, at + (covered.nextSeq - covered.firstSeq) * hashBytes);
  }

  async function firstMissing({ firstSeq, nextSeq, stream }: CoveredStream): Promise<number> {
    const { rows } = await store.asSystem((tx) =>
      sql<{ seq: bigint }>`select seq from journal where month = any(${months}::date[]) and stream = ${stream}
        and seq >= ${BigInt(firstSeq)} and seq < ${BigInt(nextSeq)} order by seq`.execute(tx),
    );
    const gap = rows.findIndex(({ seq }, i) => Number(seq) !== firstSeq + i);
    return firstSeq + (gap < 0 ? rows.length : gap);
  }
}

function stretchesOf(checkpoints: readonly Checkpoint[]): readonly Omit<CoveredStream, 'headHash'>[] {
  const found = new Map<string, Omit<CoveredStream, 'headHash'>>();
  for (const { firstSeq, nextSeq, stream } of checkpoints.flatMap(({ streams }) => streams)) {
    const known = found.get(stream);
    found.set(stream, {
      stream,
      firstSeq: Math.min(firstSeq, known?.firstSeq ?? firstSeq),
      nextSeq: Math.max(nextSeq, known?.nextSeq ?? nextSeq),
    });
  }
  return [...found.values()];
}
