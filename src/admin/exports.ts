import { SallyportError } from '../errors.ts';
import { isId } from '../ids.ts';
import type { Journal } from '../journal/journal.ts';
import type { Caller } from './caller.ts';
import type { Callers } from './callers.ts';
import type { Vault } from '../vault/vault.ts';

export type ExportFormat = 'csv' | 'jsonl';

/** Pages of rows, read as they are taken. Whoever holds one closes it, whether he took them all or not. */
export interface Export<T> {
  readonly pages: AsyncGenerator<readonly T[], void>;
  close(): void;
}

export interface ExportsDeps {
  readonly journal: Pick<Journal, 'append'>;
  readonly callers: Pick<Callers, 'recheck'>;
  readonly markClient: Vault['markClient'];
  readonly clock: () => number;
}

export type Exports = ReturnType<typeof createExports>;

/** At once: each reads page after page, as fast as its client takes them. */
const most = { ofCaller: 2, ofWorkspace: 4, inAll: 8 } as const;
const recheckMs = 2_000;

const idMembers = ['keyId', 'tokenId', 'userId', 'callId'] as const;
const idKinds = { keyId: 'key', tokenId: 'tok', userId: 'usr', callId: 'call' } as const;

/** Lets many rows out of the house: on record before the first of them, a few at once, and no longer than the caller may see them. */
export function createExports({ journal, callers, markClient, clock }: ExportsDeps) {
  const running = new Set<Caller>();

  function take(caller: Caller): () => void {
    const neighbours = [...running].filter(({ workspaceId }) => workspaceId === caller.workspaceId);
    const own = neighbours.filter(({ id }) => id === caller.id);
    if (own.length >= most.ofCaller || neighbours.length >= most.ofWorkspace || running.size >= most.inAll) {
      throw new SallyportError('RATE_LIMITED', 'Too many exports are under way.', { retryAfter: 5 });
    }
    // One of each, for the same caller may come twice.
    const one = { ...caller };
    running.add(one);
    return () => void running.delete(one);
  }

  async function* guarded<T>(
    caller: Caller,
    pages: AsyncGenerator<readonly T[], void>,
  ): AsyncGenerator<readonly T[], void> {
    let checkedAt = clock();
    for await (const page of pages) {
      // A clock that is set back must not put it off, so both directions count.
      if (Math.abs(clock() - checkedAt) >= recheckMs) {
        await callers.recheck(caller);
        checkedAt = clock();
      }
      yield page;
    }
  }

  return Object.freeze({
    /**
     * @throws {SallyportError} RATE_LIMITED: two of this caller, four of his workspace or eight in all are under way; JOURNAL_UNAVAILABLE: nothing is read.
     */
    async open<T>(
      caller: Caller,
      what: 'audit' | 'usage' | 'calls' | 'person',
      format: ExportFormat,
      filter: Readonly<Record<string, string | number | boolean | undefined>>,
      pages: () => AsyncGenerator<readonly T[], void>,
    ): Promise<Export<T>> {
      const close = take(caller);
      try {
        const from = caller.ip === null ? null : markClient(caller.ip, caller);
        await journal.append(`export.${what}`, {
          workspaceId: caller.workspaceId,
          userId: caller.userId,
          actor: { type: caller.type, id: caller.id },
          ip: from?.clientIpHash ?? null,
          network: from?.network ?? null,
          format,
          filter: recordable(filter),
        });
      } catch (error) {
        close();
        throw error;
      }
      return { pages: guarded(caller, pages()), close };
    },
  });
}

/** Ids and times; of other members their names alone, for these are words of the client. */
function recordable(filter: Readonly<Record<string, string | number | boolean | undefined>>) {
  const ids = idMembers.flatMap((name) => {
    const value = filter[name];
    return typeof value === 'string' && isId(idKinds[name], value) ? [[name, value] as const] : [];
  });
  const others = Object.keys(filter)
    .filter((name) => filter[name] !== undefined && !ids.some(([id]) => id === name))
    .toSorted();
  return { ...Object.fromEntries(ids), others };
}
