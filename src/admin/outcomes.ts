import type { ActLookup } from '../journal/act-lookup.ts';
import type { Fields, Journal, Receipt } from '../journal/journal.ts';

/**
 * The outcomes of acts. None is given up while this process lives: an intent without one keeps its segment of the journal on disk, and all
 * that follow it, until JOURNAL_MAX_BYTES closes the gate to every call. What still waits at a stop the next start looks up.
 */
export interface Outcomes {
  /** @returns null when the journal refuses it for now: it is tried again in the background. */
  write(event: string, fields: Fields): Promise<Receipt | null>;
  /** COMMIT was sent and its answer lost: looks the act up in the background, then writes `.done` or `.failed`. */
  find(act: LostAct): void;
  stop(): void;
}

export interface LostAct {
  /** Without `.intent`. */
  readonly event: string;
  readonly actId: string;
  readonly workspaceId: string;
  readonly outcome: Fields;
}

export interface OutcomesDeps {
  readonly journal: Pick<Journal, 'append'>;
  readonly lookup: ActLookup;
  readonly retryMs?: number;
}

/** As many wait as acts were under way when the database or the disk went: each intent needs both. */
export function createOutcomes({ journal, lookup, retryMs = 1000 }: OutcomesDeps): Outcomes {
  /** Each rejects while it has to be tried again. */
  const waiting: (() => Promise<unknown>)[] = [];
  let isTrying = false;
  let isStopped = false;
  let timer: NodeJS.Timeout | null = null;

  function later(): void {
    if (!isStopped && !isTrying && waiting.length > 0)
      timer ??= setTimeout(() => void retry(), retryMs).unref();
  }

  /** One after another: a look may wait for a transaction, and must not take the connections that calls need. */
  async function retry(): Promise<void> {
    timer = null;
    isTrying = true;
    for (const work of waiting.splice(0)) {
      if (isStopped) return;
      await work().catch(() => waiting.push(work));
    }
    isTrying = false;
    later();
  }

  function owe(work: () => Promise<unknown>): void {
    waiting.push(work);
    later();
  }

  async function write(event: string, fields: Fields): Promise<Receipt | null> {
    try {
      return await journal.append(event, fields);
    } catch {
      owe(() => journal.append(event, fields));
      return null;
    }
  }

  return Object.freeze<Outcomes>({
    write,
    find({ event, actId, workspaceId, outcome }) {
      owe(async () => {
        const isDone = await lookup(actId, workspaceId);
        await write(
          `${event}.${isDone ? 'done' : 'failed'}`,
          isDone ? outcome : { ...outcome, code: 'INTERNAL' },
        );
      });
    },
    stop() {
      isStopped = true;
      if (timer !== null) clearTimeout(timer);
    },
  });
}
