import { type ListedModel, readModelList } from '../dialects/model-list.ts';
import { SallyportError, type ErrorCode } from '../errors.ts';
import type { ClientMarks, PreparedKey } from '../vault/vault.ts';
import { codeOf, type OwnAnswer } from './own-answer.ts';
import { answerOnRecord, type OwnUseDeps } from './own-use.ts';
import { asRefusal } from './refusal.ts';
import { refusedKey, sentence } from './upstream-words.ts';
import type { CallerSnapshot } from './snapshot.ts';
import type { Target } from './target.ts';

/** What providers say that they serve, by the key that asked them. */
export interface ModelLists {
  /**
   * The list at `target`, at most ten minutes old where it is asked for often: an older one is told once more and asked for anew.
   *
   * @param prepare unwraps the key for a request of our own, which is a use like any other.
   * @throws {SallyportError} UPSTREAM_*, EGRESS_REFUSED, JOURNAL_UNAVAILABLE, KEY_*, SEAL_*, VAULT_SEALED.
   */
  of(
    caller: Pick<CallerSnapshot, 'workspaceId' | 'userId' | 'tokenId'>,
    target: Target,
    client: ClientMarks,
    prepare: () => Promise<PreparedKey>,
  ): Promise<readonly ListedModel[]>;
  /** What was listed for a key and still is remembered; nothing is asked for. */
  remembered(target: Pick<Target, 'key' | 'origin'>): readonly ListedModel[];
  /** Resolves when nothing that is under way now is any more. */
  settled(): Promise<void>;
  /** Ends what is under way. Resolves when nothing is. */
  stop(): Promise<void>;
}

interface Entry {
  models: readonly ListedModel[] | null;
  /** When they came, ms since the epoch. */
  listedAt: number;
  /** Of the last request: why it gave no list. */
  refusal: SallyportError | null;
  /** When the next one is due. */
  dueAt: number;
  pending: Promise<void> | null;
}

const freshMs = 10 * 60_000;
/** Nobody is told of models that were there yesterday. */
const staleMs = 24 * 3600_000;
/** A provider that failed is not asked by every client that looks at the list. */
const failedMs = 60_000;
const bounds = {
  maxBytes: 4 * 1024 * 1024,
  wholeMs: 5_000,
  timeouts: { connectMs: 4_000, headersMs: 5_000, bodyMs: 5_000 },
  isTold: true,
} as const;
/** Models of all lists together, some 200 bytes each. */
const maxModels = 100_000;

export function createModelLists(deps: OwnUseDeps): ModelLists {
  const { now } = deps;
  /** The least lately filled first. */
  const entries = new Map<string, Entry>();
  const underway = new Set<Promise<void>>();
  const stopped = new AbortController();

  async function fetchList(
    caller: Pick<CallerSnapshot, 'workspaceId' | 'userId' | 'tokenId'>,
    target: Target,
    client: ClientMarks,
    prepared: PreparedKey,
  ): Promise<readonly ListedModel[]> {
    try {
      const { fingerprint } = target.key as { fingerprint?: string | null };
      const { answer, verdict } = await answerOnRecord(
        deps,
        { caller, target, fingerprint: fingerprint ?? null, client },
        prepared,
        { ...bounds, signal: stopped.signal },
        (given) => {
          const models = given.status === 200 && given.isWhole ? readModelList(given.body) : null;
          return models === null ? { models, code: failureOf(target, given) } : { models, code: null };
        },
      );
      if (verdict.models === null) throw refusalOf(verdict.code, target, answer);
      return verdict.models;
    } finally {
      prepared.wipe();
    }
  }

  /** Asks for a list, once for all who want it. Never rejects. */
  async function refresh(
    key: string,
    entry: Entry,
    work: () => Promise<readonly ListedModel[]>,
  ): Promise<void> {
    try {
      entry.models = await work();
      entry.listedAt = now();
      entry.refusal = null;
      entry.dueAt = now() + freshMs;
    } catch (error) {
      const refusal = asRefusal(error);
      entry.refusal = refusal;
      // What failed here and not there may be mended at once.
      entry.dueAt = refusal.code.startsWith('UPSTREAM_') ? now() + failedMs : 0;
    }
    entry.pending = null;
    // At the young end again.
    entries.delete(key);
    entries.set(key, entry);
    makeRoom();
  }

  function begin(key: string, entry: Entry, work: () => Promise<readonly ListedModel[]>): void {
    const pending = refresh(key, entry, work);
    entry.pending = pending;
    underway.add(pending);
    void pending.finally(() => underway.delete(pending));
  }

  function makeRoom(): void {
    let models = 0;
    for (const entry of entries.values()) models += 1 + (entry.models?.length ?? 0);
    for (const [key, entry] of entries) {
      if (models <= maxModels) return;
      if (entry.pending !== null) continue;
      models -= 1 + (entry.models?.length ?? 0);
      entries.delete(key);
    }
  }

  return Object.freeze<ModelLists>({
    async of(caller, target, client, prepare) {
      const key = nameOf(target);
      const entry = entries.get(key) ?? { models: null, listedAt: 0, refusal: null, dueAt: 0, pending: null };
      entries.set(key, entry);
      // Of a sealed key only who has its seal is told anything.
      if (now() >= entry.dueAt || target.key.protection === 'sealed') {
        const prepared = await prepare();
        const isNeeded = now() >= entry.dueAt && entry.pending === null;
        if (isNeeded) begin(key, entry, () => fetchList(caller, target, client, prepared));
        else prepared.wipe();
      }
      if (now() - entry.listedAt >= staleMs) entry.models = null;
      if (entry.models === null) await entry.pending;
      // A list that was there is told though the last request for it failed.
      if (entry.models !== null) return entry.models;
      throw entry.refusal ?? new SallyportError('UPSTREAM_ERROR', 'The list of models could not be read.');
    },
    remembered: (target) => entries.get(nameOf(target))?.models ?? [],
    async settled() {
      await Promise.all(underway);
    },
    async stop() {
      stopped.abort();
      await Promise.all(underway);
    },
  });
}

function nameOf({ key, origin }: Pick<Target, 'key' | 'origin'>): string {
  return `${key.id} ${key.version} ${origin}`;
}

function failureOf({ provider }: Target, answer: OwnAnswer): ErrorCode {
  const code = codeOf(provider, answer);
  if (code !== null) return code;
  return answer.status !== null && answer.status >= 400 ? 'UPSTREAM_REJECTED' : 'UPSTREAM_ERROR';
}

function refusalOf(code: ErrorCode, target: Target, { status }: OwnAnswer): SallyportError {
  if (code === 'UPSTREAM_AUTH') return refusedKey(target, status ?? 401);
  if (status === null) return new SallyportError(code, sentence(code, target));
  return new SallyportError(
    // Its own 4xx is not the client's fault: he asked for something else.
    code === 'UPSTREAM_REJECTED' ? 'UPSTREAM_ERROR' : code,
    `${target.provider.title} gave no list of its models (status ${status}).`,
  );
}
