import type { Fields } from '../journal/journal.ts';

/**
 * Refusals in the journal, at a bounded rate: the first of each kind in a minute stands there in full, the rest as a count, so that
 * whoever floods the gateway with bad tokens writes a line a minute and not a disk full. Each workspace has its own count, and
 * strangers one together: nobody hides another's refusals.
 */
export interface Denials {
  note(denial: Denial): void;
  flush(): void;
  stop(): void;
}

/** What was known when the call was refused. */
export interface Denial {
  readonly workspaceId: string | null;
  readonly tokenId: string | null;
  readonly userId: string | null;
  readonly keyId: string | null;
  readonly code: string;
  readonly clientIpHash: string | null;
  readonly network: string | null;
}

export interface DenialsDeps {
  readonly append: (event: 'use.deny', fields: Fields) => Promise<unknown>;
  readonly windowMs?: number;
  readonly fullPerWindow?: number;
}

export function createDenials({ append, windowMs = 60_000, fullPerWindow = 20 }: DenialsDeps): Denials {
  /** Codes and workspaces are closed sets, so this is bounded. */
  const counts = new Map<string, Pick<Denial, 'workspaceId' | 'code'> & { count: number }>();
  const write = (fields: Fields): void => {
    // A closed gate refuses the record; the refusal itself stands, and metrics count it.
    append('use.deny', fields).catch(() => {});
  };
  const flush = (): void => {
    for (const { workspaceId, code, count } of counts.values()) {
      const summarized = count - fullPerWindow;
      if (summarized > 0) write({ workspaceId, code, summarized, windowMs });
    }
    counts.clear();
  };
  const timer = setInterval(flush, windowMs).unref();
  return Object.freeze<Denials>({
    note(denial) {
      const { workspaceId, code } = denial;
      const kind = `${code} ${workspaceId ?? ''}`;
      const seen = counts.get(kind) ?? { workspaceId, code, count: 0 };
      seen.count += 1;
      counts.set(kind, seen);
      if (seen.count <= fullPerWindow) write({ ...denial });
    },
    flush,
    stop: () => clearInterval(timer),
  });
}
