import type { Fields } from '../journal/journal.ts';

/**
 * Refusals in the journal, at a bounded rate: the first of each kind in a minute stands there in full, the rest as a count, so that
 * whoever floods the gateway with bad tokens writes a line a minute and not a disk full.
 */
export interface Denials {
  note(denial: {
    readonly workspaceId: string | null;
    readonly tokenId: string | null;
    readonly code: string;
    readonly clientIpHash: string | null;
  }): void;
  flush(): void;
  stop(): void;
}

export interface DenialsDeps {
  readonly append: (event: 'use.deny', fields: Fields) => Promise<unknown>;
  readonly windowMs?: number;
  readonly fullPerWindow?: number;
}

export function createDenials({ append, windowMs = 60_000, fullPerWindow = 20 }: DenialsDeps): Denials {
  /** By code: the codes are a closed set, so this is bounded. */
  const counts = new Map<string, number>();
  const write = (fields: Fields): void => {
    // A closed gate refuses the record; the refusal itself stands, and metrics count it.
    append('use.deny', fields).catch(() => {});
  };
  const flush = (): void => {
    for (const [code, count] of counts) {
      if (count > fullPerWindow) write({ code, summarized: count - fullPerWindow, windowMs });
    }
    counts.clear();
  };
  const timer = setInterval(flush, windowMs).unref();
  return Object.freeze<Denials>({
    note(denial) {
      const count = (counts.get(denial.code) ?? 0) + 1;
      counts.set(denial.code, count);
      if (count <= fullPerWindow) write({ ...denial });
    },
    flush,
    stop: () => clearInterval(timer),
  });
}
