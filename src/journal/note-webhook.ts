/** Sends notes to one address, in their order, again until it takes them. */
export interface NoteWebhook {
  give(note: string): void;
  /** Resolves when nothing is under way or waiting any more. */
  idle(): Promise<void>;
  close(): void;
}

/** Beyond them the oldest goes: every later checkpoint names the one before it, so that it can be asked for. */
const maxWaiting = 100;
const [firstWaitMs, longestWaitMs] = [1000, 60_000];

export function createNoteWebhook(deps: {
  /** @returns the status. */
  readonly send: (note: string) => Promise<number>;
  /** Resolves after so many ms, or when the signal says so. */
  readonly wait: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Null: it was taken. Each failure is told, and each note that was given up. */
  readonly onResult: (error: unknown) => void;
}): NoteWebhook {
  const { onResult, send, wait } = deps;
  const waiting: string[] = [];
  const end = new AbortController();
  let running: Promise<void> | null = null;

  async function run(): Promise<void> {
    let waitMs = firstWaitMs;
    for (let note = waiting[0]; note !== undefined && !end.signal.aborted; note = waiting[0]) {
      const error = await attempt(note);
      if (end.signal.aborted) return;
      onResult(error);
      if (error === null) {
        // The queue may have lost its head meanwhile.
        if (waiting[0] === note) waiting.shift();
        waitMs = firstWaitMs;
      } else {
        await wait(waitMs, end.signal);
        waitMs = Math.min(waitMs * 2, longestWaitMs);
      }
    }
  }

  async function attempt(note: string): Promise<unknown> {
    try {
      const status = await send(note);
      return status >= 200 && status < 300 ? null : new Error(`it answered with status ${status}`);
    } catch (error) {
      return error;
    }
  }

  return Object.freeze<NoteWebhook>({
    give(note) {
      if (end.signal.aborted) return;
      if (waiting.length >= maxWaiting) {
        waiting.shift();
        onResult(new Error(`more than ${maxWaiting} wait: the oldest was given up`));
      }
      waiting.push(note);
      running ??= run().finally(() => (running = null));
    },
    idle: async () => running ?? undefined,
    close: () => end.abort(),
  });
}
