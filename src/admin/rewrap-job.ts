import type { RewrapProgress } from '../vault/keyring-rewrap.ts';

/** How a run in this process stands. Another process may run one too; what is left is seen in the keys' counts. */
export interface RewrapState {
  readonly status: 'idle' | 'running' | 'done' | 'incomplete' | 'failed';
  readonly remaining: number;
  readonly rewrapped: number;
  /** Records that do not open and were left as they are. */
  readonly failed: number;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  /** Why it ended before it was done. */
  readonly message: string | null;
}

export interface RewrapJob {
  /** Nothing when one runs already. */
  start(): void;
  isRunning(): boolean;
  state(): RewrapState;
  /** Resolves when the present run has ended, for whatever reason. */
  ended(): Promise<void>;
  /** Ends a run between two batches; what is done stays done. */
  stop(): Promise<void>;
}

/** One run at a time in this process, in the background of the calls. */
export function createRewrapJob(deps: {
  readonly run: (signal: AbortSignal, onProgress: (now: RewrapProgress) => void) => Promise<RewrapProgress>;
  readonly clock: () => number;
  readonly onProgress: (now: { readonly remaining: number; readonly more: number }) => void;
  readonly onEnd: (state: RewrapState, error: unknown) => void;
}): RewrapJob {
  const { run, clock, onProgress, onEnd } = deps;
  let state: RewrapState = {
    status: 'idle',
    remaining: 0,
    rewrapped: 0,
    failed: 0,
    startedAt: null,
    endedAt: null,
    message: null,
  };
  let running: Promise<void> | null = null;
  let stopper = new AbortController();
  const now = (): string => new Date(clock()).toISOString();

  async function work(signal: AbortSignal): Promise<void> {
    let trouble: unknown = null;
    try {
      const last = await run(signal, (progress) => {
        onProgress({ remaining: progress.remaining, more: progress.rewrapped - state.rewrapped });
        state = { ...state, ...progress };
      });
      const isWhole = last.remaining === 0 && last.failed === 0;
      onProgress({ remaining: last.remaining, more: last.rewrapped - state.rewrapped });
      state = {
        ...state,
        ...last,
        status: isWhole ? 'done' : 'incomplete',
        message: isWhole ? null : 'Some records were left as they are: the log names them.',
      };
    } catch (error) {
      trouble = error;
      const why = error instanceof Error ? error.message : 'It failed.';
      state = { ...state, status: 'failed', message: signal.aborted ? 'The gateway was stopped.' : why };
    }
    state = { ...state, endedAt: now() };
    onEnd(state, trouble);
  }

  return Object.freeze<RewrapJob>({
    start() {
      if (running !== null) return;
      stopper = new AbortController();
      state = {
        status: 'running',
        remaining: 0,
        rewrapped: 0,
        failed: 0,
        startedAt: now(),
        endedAt: null,
        message: null,
      };
      running = work(stopper.signal).finally(() => {
        running = null;
      });
    },
    isRunning: () => running !== null,
    state: () => state,
    ended: async () => (await running) ?? undefined,
    async stop() {
      stopper.abort();
      await running;
    },
  });
}
