import pg from 'pg';
import { clientConfig, type ConnectionOptions } from './connection.ts';

/**
 * NOTIFY on a connection of its own: the epoch has moved, look now. A hint and no more: whoever gets none polls (gateway/epoch.ts), so a
 * connection that is lost, or a pooler that lets no LISTEN through, costs a quarter of a second and nothing else.
 */
export interface EpochHints {
  /** Listens from now on, and again whenever the connection was lost. */
  start(onHint: () => void): void;
  stop(): Promise<void>;
}

/** Told by a trigger (migrations/0011_epoch_hints.ts). */
const channel = 'sallyport_epoch';

/** Between two attempts to connect: doubled from the first to the last. */
const [firstWaitMs, lastWaitMs] = [250, 30_000];

export function createEpochHints(connection: ConnectionOptions): EpochHints {
  let client: pg.Client | null = null;
  let timer: NodeJS.Timeout | null = null;
  let waitMs = firstWaitMs;
  let isStopped = false;
  let isListening = false;

  async function listen(onHint: () => void): Promise<void> {
    const mine = new pg.Client(clientConfig(connection));
    client = mine;
    mine.on('error', () => {});
    mine.on('notification', onHint);
    mine.once('end', () => again(mine, onHint));
    try {
      await mine.connect();
      await mine.query(`listen ${channel}`);
      isListening = true;
      waitMs = firstWaitMs;
      // What was told while nobody listened.
      onHint();
    } catch {
      await mine.end().catch(() => {});
      again(mine, onHint);
    }
  }

  function again(lost: pg.Client, onHint: () => void): void {
    if (client !== lost || isStopped) return;
    client = null;
    isListening = false;
    timer = setTimeout(() => {
      timer = null;
      void listen(onHint);
    }, waitMs).unref();
    waitMs = Math.min(waitMs * 2, lastWaitMs);
  }

  return Object.freeze<EpochHints>({
    start(onHint) {
      if (client !== null || timer !== null || isStopped) return;
      void listen(onHint);
    },
    async stop() {
      isStopped = true;
      if (timer !== null) clearTimeout(timer);
      const ended = client?.end().catch(() => {});
      // One that is being made may take seconds to find out that it is not wanted any more.
      if (isListening) await ended;
    },
  });
}
