import type { Egress } from '../egress/egress.ts';
import type { ErrorCode } from '../errors.ts';
import { newId } from '../ids.ts';
import type { Journal } from '../journal/journal.ts';
import type { PriceBook } from '../providers/price.ts';
import type { ClientMarks, PreparedKey } from '../vault/vault.ts';
import type { Ends } from './ends.ts';
import { answerTo, type OwnAnswer, type OwnBounds } from './own-answer.ts';
import type { CallerSnapshot } from './snapshot.ts';
import type { Target } from './target.ts';
import { beginFields, endFields, identityOf } from './use-record.ts';

export interface OwnUseDeps {
  readonly journal: Pick<Journal, 'append'>;
  readonly ends: Pick<Ends, 'write'>;
  readonly egress: Pick<Egress, 'dispatch'>;
  readonly prices: Pick<PriceBook, 'version'>;
  readonly now: () => number;
}

export interface OwnUse {
  readonly caller: Pick<CallerSnapshot, 'workspaceId' | 'userId'> & { readonly tokenId: string | null };
  readonly target: Target;
  readonly fingerprint: string | null;
  /** Null where no client asked for it. */
  readonly client: ClientMarks | null;
}

/**
 * A request of our own with somebody's key, on record like any other use: its begin is durable before the key is opened, its end says the
 * code that `judge` found, null for all well. Only for what costs nothing.
 *
 * @param prepared the caller's to wipe
 * @throws {SallyportError} JOURNAL_UNAVAILABLE: nothing was opened.
 */
export async function answerOnRecord<Verdict extends { readonly code: ErrorCode | null }>(
  { journal, ends, egress, prices, now }: OwnUseDeps,
  { caller, target, fingerprint, client }: OwnUse,
  prepared: PreparedKey,
  bounds: OwnBounds,
  judge: (answer: OwnAnswer) => Verdict,
): Promise<{ readonly answer: OwnAnswer; readonly verdict: Verdict; readonly ms: number }> {
  const identity = identityOf(newId('call'), caller, target, fingerprint, false);
  const startedAtMs = now();
  const begin = await journal.append('use.begin', beginFields(identity, target, 1, startedAtMs, client));
  const answer = await answerTo(egress, target, prepared, bounds);
  const endedAtMs = now();
  const verdict = judge(answer);
  const { code } = verdict;
  ends.write(
    endFields(identity, 1, begin, {
      final: true,
      outcome: code ?? 'ok',
      // A good one may be longer than what is read of it.
      endReason: code === null || answer.isWhole ? 'complete' : 'upstream_broken',
      status: answer.status,
      upstreamRequestId: null,
      startedAtMs,
      endedAtMs,
      firstByteMs: null,
      requestBytes: 0,
      responseBytes: answer.body.length,
      reading: null,
      billed: {},
      cost: { nanoUsd: 0n, version: prices.version },
    }),
  );
  return { answer, verdict, ms: endedAtMs - startedAtMs };
}
