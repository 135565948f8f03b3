import { SallyportError } from '../errors.ts';

/** How fast a body has to come, so that nobody keeps a place, or memory, by a byte now and then. */
export interface Pace {
  readonly windowMs: number;
  /** In each window throughout which we were ready to take them. */
  readonly minBytes: number;
  /** For all of it; null: as long as it keeps pace. A multiple of the window. */
  readonly wholeMs: number | null;
}

export interface Paces {
  /** Read whole into memory: 17 kbit/s, within 10 minutes. */
  readonly whole: Pace;
  /** Streamed through. */
  readonly upload: Pace;
}

export const defaultPaces: Paces = {
  whole: { windowMs: 30_000, minBytes: 65_536, wholeMs: 600_000 },
  upload: { windowMs: 60_000, minBytes: 65_536, wholeMs: null },
};

/**
 * Looks at a body once in a window.
 *
 * @param coming `bytes` so far; `wasHeldBack`, since it was asked last: that it did not come was not the client's doing.
 * @param onSlow called once at most, with REQUEST_TIMEOUT
 * @returns the body is there, or not wanted any more
 */
export function keepPace(
  { windowMs, minBytes, wholeMs }: Pace,
  coming: { readonly bytes: () => number; readonly wasHeldBack: () => boolean },
  onSlow: (error: SallyportError) => void,
): () => void {
  let windows = 0;
  let before = 0;
  const timer = setInterval(() => {
    windows += 1;
    const bytes = coming.bytes();
    const isLate = wholeMs !== null && windows * windowMs >= wholeMs;
    const isSlow = !coming.wasHeldBack() && bytes - before < minBytes;
    before = bytes;
    if (!isLate && !isSlow) return;
    clearInterval(timer);
    onSlow(
      new SallyportError(
        'REQUEST_TIMEOUT',
        isLate
          ? `The body was not whole after ${(wholeMs ?? 0) / 1000} seconds.`
          : `Fewer than ${minBytes} bytes of the body came in ${windowMs / 1000} seconds.`,
      ),
    );
  }, windowMs);
  return () => clearInterval(timer);
}
