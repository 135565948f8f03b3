/**
 * What workers and their primary say to each other of limits. A permit is one request that the primary has counted already for whoever
 * holds it; a slot is one call that may run. The primary alone knows how many there are.
 */
export interface PermitAsk {
  readonly tokenId: string;
  readonly requestsPerMinute: number | null;
  readonly concurrentCalls: number | null;
  /** What the call at hand lacks. */
  readonly needs: { readonly permit: boolean; readonly slot: boolean };
}

export type PermitAnswer =
  /** The call may go; so many more permits are for the next ones. `isRecalled`: what falls free is given back at once for now. */
  | { readonly granted: true; readonly more: number; readonly isRecalled: boolean }
  | { readonly granted: false; readonly limit: 'rate'; readonly afterMs: number }
  | { readonly granted: false; readonly limit: 'concurrency'; readonly running: number };

/** What a worker used of its permits, and what it gives back. */
export interface PermitReport {
  readonly tokenId: string;
  /** Under which the permits were handed out; null where there are none. */
  readonly requestsPerMinute: number | null;
  /** Permits used since the last report, and when the last of them was, ms since the epoch. */
  readonly used: number;
  readonly usedAt: number;
  readonly permits: number;
  readonly slots: number;
}

/** How long after a recall whatever falls free is given back at once. */
export const recalledMs = 1000;
