import { sql } from 'kysely';
import type { Store } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { checkpointEveryMs } from '../journal/checkpoints.ts';
import type { Proof, Prover, StoredLine } from '../journal/proof.ts';
import type { Caller } from './caller.ts';
import { demand } from './permissions.ts';
import { visibleRecords } from './use-visibility.ts';

export type Proofs = ReturnType<typeof createProofs>;

/** `<stream>.<seq>`, and as an answer's receipt has it the first 16 hex digits of the hash. */
export const receiptPattern =
  '^([A-Za-z0-9_-]{1,80}:[A-Za-z0-9_-]{1,80})\\.(0|[1-9]\\d{0,14})(?:\\.([0-9a-f]{16}))?$';

/** Proofs of the records that `/api/audit` shows a caller. */
export function createProofs(deps: {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly prover: Prover;
  readonly clock: () => number;
}) {
  const { clock, prover, store } = deps;
  const everyMs = checkpointEveryMs;

  async function read(caller: Caller, stream: string, seq: string): Promise<StoredLine> {
    const months = await prover.months();
    const { rows } = await store.asWorkspace(caller.workspaceId, (tx) =>
      sql<{ hash: Buffer; line: string }>`
        select hash, line from journal where month = any(${months}::date[]) and stream = ${stream} and seq = ${BigInt(seq)}
          and ${visibleRecords(caller)} limit 1`.execute(tx),
    );
    const [row] = rows;
    if (row === undefined) {
      const month = await prover.goneWith(stream, Number(seq));
      if (month !== null) throw gone(month);
      throw new SallyportError('NOT_FOUND', 'There is no such record here.', {
        fix: 'A record is in the database two seconds after its call at the latest; GET /api/audit lists those that you see.',
      });
    }
    return { stream, seq: Number(seq), hash: row.hash.toString('hex'), line: row.line };
  }

  return Object.freeze({
    /**
     * @param record as `receiptPattern` has it.
     * @throws {SallyportError} NOT_FOUND; CHECKPOINT_PENDING: no checkpoint covers it yet; CONFLICT: it is not the receipt's, or does not fit its checkpoint.
     */
    async prove(caller: Caller, record: string): Promise<Proof> {
      demand(caller, 'audit:read');
      const [, stream, seq, start] = new RegExp(receiptPattern).exec(record) ?? [];
      if (stream === undefined || seq === undefined) {
        throw new SallyportError(
          'REQUEST_INVALID',
          'record has to be a receipt: STREAM.SEQ or STREAM.SEQ.HASH.',
        );
      }
      const row = await read(caller, stream, seq);
      if (start !== undefined && !row.hash.startsWith(start)) {
        throw new SallyportError('CONFLICT', 'The record at this place is not the one of the receipt.', {
          fix: 'Keep the receipt: it shows that the record was exchanged, or that the receipt is another deployment’s.',
        });
      }
      const proof = await prover.prove(row);
      if ('lastAt' in proof) throw pending(proof.lastAt);
      return proof;
    },
  });

  function gone(month: string): SallyportError {
    return new SallyportError(
      'NOT_FOUND',
      `The record was dropped with its month, ${month.slice(0, 7)}: records are kept for so long only.`,
      {
        fix: 'A proof that was made before stays good. A signed stub says which records went: docs/journal.md.',
      },
    );
  }

  function pending(lastAt: Date | null): SallyportError {
    const dueMs = (lastAt?.getTime() ?? clock()) + everyMs - clock();
    const isLate = dueMs < -everyMs;
    const retryAfter = Math.min(everyMs / 1000, Math.max(2, Math.ceil(dueMs / 1000)));
    return new SallyportError(
      'CHECKPOINT_PENDING',
      isLate && lastAt !== null
        ? `No checkpoint covers the record yet, and none was written since ${lastAt.toISOString()}.`
        : `No checkpoint covers the record yet; the next one is due in ${retryAfter} s.`,
      {
        retryAfter,
        ...(isLate
          ? {
              fix: 'The operator finds out why: checkpoint.failed in the log, sallyport_checkpoint_age_seconds.',
            }
          : {}),
      },
    );
  }
}
