import { createHmac, randomBytes } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import type { Limits } from '../limits/limits.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { PreparedKey } from '../vault/vault.ts';
import type { KeySnapshot } from './snapshot.ts';

export interface SealGate {
  /**
   * @param key  a sealed one.
   * @param seal of the call, 32 bytes, its to wipe.
   * @throws {SallyportError} SEAL_REQUIRED, SEAL_WRONG, RATE_LIMITED (too many wrong ones); what `key.prepare` throws.
   */
  prepare(
    key: KeySnapshot,
    seal: Buffer | null,
    sender: { readonly tokenId: string; readonly ip: string },
  ): Promise<PreparedKey>;
}

/** Callers of whom it is remembered that their seal was right. */
const maxProven = 10_000;

/**
 * Bounds how fast seals may be guessed. Refusing before the trial is the only bound that counts: one that let every right seal through
 * would still tell a guesser when he has it. So that he cannot lock out those who know, a seal that was right before is let through;
 * it is known again by a digest under a key of this process, which says nothing of it elsewhere.
 */
export function createSealGate({
  limits,
  metrics,
}: {
  readonly limits: Pick<Limits, 'checkSealFailures' | 'countSealFailure'>;
  readonly metrics: Pick<Metrics, 'authRefused'>;
}): SealGate {
  const digestKey = randomBytes(32);
  const proven = new Set<string>();
  const digestOf = (tokenId: string, seal: Buffer): string =>
    createHmac('sha256', digestKey).update(tokenId).update(seal).digest('base64');

  return Object.freeze<SealGate>({
    async prepare(key, seal, { tokenId, ip }) {
      if (seal === null) {
        throw new SallyportError(
          'SEAL_REQUIRED',
          `The key ${key.id} is sealed, and no seal came with the call.`,
        );
      }
      const digest = digestOf(tokenId, seal);
      if (!proven.has(digest)) limits.checkSealFailures(tokenId, ip);
      try {
        const prepared = await key.prepare(seal);
        proven.delete(digest);
        proven.add(digest);
        const [oldest] = proven;
        if (proven.size > maxProven && oldest !== undefined) proven.delete(oldest);
        return prepared;
      } catch (error) {
        if (error instanceof SallyportError && error.code === 'SEAL_WRONG') {
          proven.delete(digest);
          limits.countSealFailure(tokenId, ip);
          metrics.authRefused(error.code);
        }
        throw error;
      }
    },
  });
}
