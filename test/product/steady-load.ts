import * as http from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { ask } from '../support/http-client.ts';

export interface Load {
  /** Calls that were answered in full so far. */
  done(): number;
  /** What came in place of the others. */
  readonly failed: readonly string[];
  /** Resolves when the last call has been answered. */
  stop(): Promise<void>;
}

/** How long an answer of the stand-in takes, by the model that is asked for; streams come in `pieces`. */
export const models = {
  'gpt-small': { ms: 5, pieces: 0, pauseMs: 20, clients: 6 },
  'gpt-stream': { ms: 600, pieces: 12, pauseMs: 50, clients: 6 },
  'gpt-long': { ms: 4000, pieces: 20, pauseMs: 200, clients: 3 },
} as const;

/** Clients that call one after the other over connections that are kept, each kind of call at once. */
export function startLoad(origin: string, token: string): Load {
  const agent = new http.Agent({ keepAlive: true });
  const failed: string[] = [];
  let done = 0;
  const over = new AbortController();

  async function client(model: string, isStream: boolean, pauseMs: number): Promise<void> {
    while (!over.signal.aborted) {
      try {
        const { status, body, isWhole } = await ask(`${origin}/v1/chat/completions`, {
          agent,
          headers: { authorization: `Bearer ${token}` },
          body: { model, stream: isStream, messages: [] },
        });
        const text = body.toString();
        if (status === 200 && isWhole && text.includes(isStream ? 'data: [DONE]' : '"choices"')) done += 1;
        else failed.push(`${model}: ${status} ${isWhole ? 'whole' : 'cut'} ${text.slice(-300)}`);
      } catch (error) {
        failed.push(`${model}: ${(error as Error).message}`);
      }
      await pause(pauseMs);
    }
  }

  const clients = Object.entries(models).flatMap(([model, { pieces, pauseMs, clients: count }]) =>
    Array.from({ length: count }, () => client(model, pieces > 0, pauseMs)),
  );
  return {
    done: () => done,
    failed,
    async stop() {
      over.abort();
      await Promise.all(clients);
      agent.destroy();
    },
  };
}
