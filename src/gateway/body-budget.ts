import { totalmem } from 'node:os';
import { SallyportError } from '../errors.ts';

/**
 * The memory that request bodies may take together. MAX_JSON_BYTES bounds one body; a token with a hundred concurrent calls could still
 * hold a hundred of them, and end the process for everyone.
 */
export interface BodyBudget {
  share(): BodyShare;
  /** Bytes held now. */
  readonly used: () => number;
}

/** One call's part of it. */
export interface BodyShare {
  /** @throws {SallyportError} RATE_LIMITED: too much is held by all calls together. */
  take(bytes: number): void;
  /** The call is over; again has no effect. */
  release(): void;
}

/** A quarter of the machine for all workers, 2 GiB at most for each, and always room for two bodies of the largest size. */
export function bodyBudgetBytes(maxJsonBytes: number, workers: number): number {
  return Math.max(2 * maxJsonBytes, Math.min(2 * 1024 ** 3, Math.floor(totalmem() / 4 / workers)));
}

export function createBodyBudget(maxBytes: number): BodyBudget {
  let used = 0;
  return Object.freeze<BodyBudget>({
    used: () => used,
    share() {
      let held = 0;
      return Object.freeze<BodyShare>({
        take(bytes) {
          if (used + bytes > maxBytes) {
            throw new SallyportError('RATE_LIMITED', 'Too many large bodies are being held at once.', {
              retryAfter: 1,
            });
          }
          used += bytes;
          held += bytes;
        },
        release() {
          used -= held;
          held = 0;
        },
      });
    },
  });
}
