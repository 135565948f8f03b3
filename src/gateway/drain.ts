import type { OnDisconnect } from '../token-policy.ts';

export type DrainBounds = Omit<Extract<OnDisconnect, { type: 'drain' }>, 'type'>;

/** An answer that is read on after its client has left, for its usage alone. */
export interface Drain {
  /** @param bytes that came and went nowhere */
  take(bytes: number): void;
  stop(): void;
}

/** @param onSpent once, when the time or the bytes are up. */
export function startDrain({ maxSeconds, maxBytes }: DrainBounds, onSpent: () => void): Drain {
  let left = maxBytes;
  const timer = setTimeout(onSpent, maxSeconds * 1000);
  return Object.freeze({
    take(bytes: number): void {
      const had = left;
      left -= bytes;
      if (had >= 0 && left < 0) onSpent();
    },
    stop: () => clearTimeout(timer),
  });
}
