import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from './config.ts';
import type { Egress } from './egress/egress.ts';
import { createExchange } from './egress/exchange.ts';
import type { Installation } from './installation.ts';
import { type CheckpointKeys, createCheckpointKeys } from './journal/checkpoint-keys.ts';
import { createCheckpoints } from './journal/checkpoints.ts';
import { createNoteFile } from './journal/note-file.ts';
import { createNoteWebhook, type NoteWebhook } from './journal/note-webhook.ts';
import { createProver, type Prover } from './journal/proof.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

/** What writes checkpoints while a gateway runs, and hands them out. */
export interface CheckpointDesk {
  readonly keys: CheckpointKeys;
  readonly prover: Prover;
  start(): void;
  /** Writes what is due, or with `isForced` whatever is new, and hands it out; webhooks may still be at it. */
  write(options?: { readonly isForced?: boolean }): Promise<void>;
  /** Resolves when no webhook is at it any more. */
  handedOut(): Promise<void>;
  /** Seconds since the last checkpoint; 0 while no record waits for one. */
  age(): number;
  close(): Promise<void>;
}

/** Between two looks whether one is due. */
const lookMs = 1000;

/** @throws {SallyportError} EGRESS_REFUSED: an outlet's origin may not be reached. */
export function createCheckpointDesk(
  config: Pick<Config, 'checkpointOutlets' | 'dataDir' | 'allowOrigins'>,
  deps: {
    readonly installation: Pick<Installation, 'store' | 'vault' | 'journal'>;
    readonly egress: Egress;
    readonly log: Log;
    readonly metrics: Metrics;
    readonly clock: () => number;
    /** In place of standard output. */
    readonly output?: { write(text: string): unknown };
  },
): CheckpointDesk {
  const { clock, egress, installation, log, metrics, output = process.stdout } = deps;
  const { journal, store, vault } = installation;
  const keys = createCheckpointKeys(vault, clock);
  const checkpoints = createCheckpoints({
    store,
    journal,
    keys,
    clock,
    onFault: ({ kind, seq, stream }) => log.error('checkpoint.held-back', { stream, seq, kind }),
  });
  const outlets = [...new Set(config.checkpointOutlets)];
  const file = outlets.includes('file')
    ? createNoteFile({ path: path.join(config.dataDir, 'checkpoints.txt'), store })
    : null;
  const webhooks = outlets.filter((outlet) => outlet.startsWith('http')).map(openWebhook);
  const tell = {
    write: createTold(log, 'checkpoint.failed'),
    file: createTold(log, 'checkpoint.not-handed-out'),
  };
  let timer: NodeJS.Timeout | null = null;
  let running: Promise<void> = Promise.resolve();

  function openWebhook(url: string): NoteWebhook {
    const { origin, pathname, search } = new URL(url);
    const reach = config.allowOrigins.includes(origin) ? 'operator' : 'public';
    egress.checkOrigin(origin, reach);
    // A note is no secret: whoever gets it can check it.
    const exchange = createExchange(egress, { allowsPlain: true, reach });
    const told = createTold(log, 'checkpoint.not-handed-out');
    return createNoteWebhook({
      async send(note) {
        const { status } = await exchange({
          origin,
          method: 'POST',
          path: pathname + search,
          headers: ['content-type', 'text/plain; charset=utf-8'],
          body: Buffer.from(note),
        });
        return status;
      },
      wait: (ms, signal) => sleep(ms, undefined, { signal, ref: false }).catch(() => {}),
      onResult(error) {
        metrics.checkpoint(error === null ? 'sent' : 'unsent');
        told(error, origin);
      },
    });
  }

  async function write(isForced: boolean): Promise<void> {
    let notes: readonly string[] = [];
    try {
      notes = await checkpoints.write({ isForced });
      tell.write(null);
    } catch (error) {
      metrics.checkpoint('failed');
      tell.write(error);
    }
    for (const note of notes) {
      if (!note.startsWith(`${keys.name}/key\n`)) metrics.checkpoint('written');
      if (outlets.includes('stdout')) output.write(`${note}\n`);
      for (const webhook of webhooks) webhook.give(note);
    }
    try {
      const count = (await file?.follow()) ?? 0;
      for (let i = 0; i < count; i += 1) metrics.checkpoint('sent');
      tell.file(null);
    } catch (error) {
      metrics.checkpoint('unsent');
      tell.file(error);
    }
  }

  const run = (isForced: boolean): Promise<void> => (running = running.then(() => write(isForced)));

  function schedule(): void {
    timer = setTimeout(() => void run(false).then(() => timer !== null && schedule()), lookMs).unref();
  }

  return Object.freeze<CheckpointDesk>({
    keys,
    prover: createProver({ store, keys }),
    start: schedule,
    write: ({ isForced = false } = {}) => run(isForced),
    async handedOut() {
      await running;
      await Promise.all(webhooks.map((webhook) => webhook.idle()));
    },
    age: () => checkpoints.age(),
    async close() {
      if (timer !== null) clearTimeout(timer);
      timer = null;
      await running;
      for (const webhook of webhooks) webhook.close();
    },
  });
}

/** One line for each new trouble, and none for its repetition every second. */
function createTold(log: Log, event: string): (error: unknown, origin?: string) => void {
  let last = '';
  return (error, origin) => {
    const text = error === null ? '' : error instanceof Error ? error.message : 'unknown';
    if (text !== '' && text !== last) log.error(event, origin === undefined ? { error } : { error, origin });
    last = text;
  };
}
