import { createHmac, randomBytes } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import type { Limits, SealSender } from '../limits/limits.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { PreparedKey } from '../vault/vault.ts';
import type { KeySnapshot } from './snapshot.ts';

export interface SealGate {
  /**
   * @param key  a sealed one.
   * @param seal of the call, 32 bytes, its to wipe.
   * @throws {SallyportError} SEAL_REQUIRED, SEAL_WRONG, RATE_LIMITED (too many wrong ones); what `key.prepare` throws.
   */
  prepare(key: KeySnapshot, seal: Buffer | null, sender: SealSender): Promise<PreparedKey>;
}

/** Seals of callers, of each kind, that are known again. */
const maxKnown = 10_000;

/**
 * Bounds how fast seals may be guessed. Refusing before the trial is the only bound that counts: one that let every right seal through
 * would still tell a guesser when he has it. So that he cannot lock out those who know, a seal that was right before is let through,
 * and so that a program with an old seal locks out nobody, a wrong one counts once. Both are known again by a digest under a key of
 * this process, which says nothing of them elsewhere, for the token that sent them and the seal that they were tried as.
 */
export function createSealGate({
  limits,
  metrics,
}: {
  readonly limits: Pick<Limits, 'checkSealFailures' | 'countSealFailure'>;
  readonly metrics: Pick<Metrics, 'authRefused'>;
}): SealGate {
  const digestKey = randomBytes(32);
  // Apart, so that guesses put out no seal that was right.
  const [proven, refuted] = [new Set<string>(), new Set<string>()];
  const digestOf = (tokenId: string, sealId: string | null, seal: Buffer): string =>
    createHmac('sha256', digestKey).update(`${tokenId} ${sealId} `).update(seal).digest('base64');

  return Object.freeze<SealGate>({
    async prepare(key, seal, sender) {
      if (seal === null) {
        throw new SallyportError(
          'SEAL_REQUIRED',
          `The key ${key.id} is sealed, and no seal came with the call.`,
        );
      }
      const digest = digestOf(sender.tokenId, key.sealed.sealId, seal);
      const isGuess = !proven.has(digest) && !refuted.has(digest);
      if (isGuess) limits.checkSealFailures(sender);
      try {
        const prepared = await key.prepare(seal);
        remember(proven, digest);
        return prepared;
      } catch (error) {
        if (error instanceof SallyportError && error.code === 'SEAL_WRONG') {
          if (isGuess) limits.countSealFailure(sender);
          remember(refuted, digest);
          metrics.authRefused(error.code);
        }
        throw error;
      }
    },
  });
}

/** The latest last; the oldest makes room. */
function remember(known: Set<string>, digest: string): void {
  known.delete(digest);
  known.add(digest);
  const [oldest] = known;
  if (known.size > maxKnown && oldest !== undefined) known.delete(oldest);
}
