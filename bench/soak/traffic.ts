import { Agent, request, type IncomingMessage } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { cases } from '../cases.ts';
import type { Mood } from './upstream.ts';

/** How a client leaves before its answer is there: before its first byte, or in the middle. */
type Leaving = 'early' | 'midway' | null;

interface Kind {
  readonly name: string;
  /** Calls of a hundred, about. */
  readonly share: number;
  readonly mood: Mood;
  readonly body: Buffer;
  readonly leaving: Leaving;
  /** What its client may see; `cut`: a connection that ended too soon; `left`: that he left. */
  readonly sees: readonly (number | 'cut' | 'left')[];
}

export interface Traffic {
  /** Calls that ended, by kind. */
  readonly calls: Readonly<Record<string, number>>;
  /** Those that saw what they should not: `kind: what`, and how often. */
  readonly wrong: Readonly<Record<string, number>>;
  /** Resolves when each client's call is over; none begins until `goOn`. */
  hold(): Promise<void>;
  goOn(): void;
  /** Resolves when each client's call is over, and its connection closed. */
  stop(): Promise<void>;
}

const chat = (mood: Mood, isStream: boolean, more = ''): Buffer =>
  Buffer.from(
    JSON.stringify({
      model: 'gpt-4o-mini',
      user: mood,
      ...(isStream ? { stream: true } : {}),
      messages: [{ role: 'user', content: `a gate has two doors${more}` }],
    }),
  );
const kinds: readonly Kind[] = [
  kind('small', 44, 'whole', chat('whole', false), [200]),
  kind('large', 8, 'whole', chat('whole', false, 'x'.repeat(cases.large.body.length)), [200]),
  kind('embedding', 15, 'embedding', Buffer.from(embeddings()), [200]),
  kind('stream', 12, 'paced', chat('paced', true), [200]),
  kind('left early', 3, 'whole', chat('whole', false), ['left', 200], 'early'),
  kind('left midway', 6, 'paced', chat('paced', true), ['left'], 'midway'),
  kind('429', 3, 'limited', chat('limited', false), [429]),
  kind('500', 3, 'broken', chat('broken', false), [500]),
  kind('reset', 3, 'reset', chat('reset', false), [502]),
  kind('cut stream', 2, 'cut', chat('cut', true), ['cut']),
  kind('stall', 1, 'stall', chat('stall', false), [504]),
];

function kind(
  name: string,
  share: number,
  mood: Mood,
  body: Buffer,
  sees: Kind['sees'],
  leaving: Leaving = null,
): Kind {
  return { name, share, mood, body, sees, leaving };
}

function embeddings(): string {
  return JSON.stringify({
    model: 'text-embedding-3-small',
    user: 'embedding',
    input: ['a gate', 'two doors'],
  });
}

/** `clients` of one gateway, each with a call after the other and a pause of at most `pauseMs` between them. */
export function startTraffic(
  gateway: { readonly port: number; readonly token: string },
  { clients, pauseMs, random }: { clients: number; pauseMs: number; random: () => number },
): Traffic {
  const calls: Record<string, number> = {};
  const wrong: Record<string, number> = {};
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const end = { has: false };
  let rest: PromiseWithResolvers<void> | null = null;
  let busy = 0;
  let onIdle = (): void => {};
  const all = kinds.reduce((sum, { share }) => sum + share, 0);
  const draw = (): Kind => {
    let left = random() * all;
    return kinds.find(({ share }) => (left -= share) < 0) ?? (kinds[0] as Kind);
  };
  const client = async (): Promise<void> => {
    for (;;) {
      await rest?.promise;
      if (end.has) return;
      const drawn = draw();
      busy += 1;
      const seen = await play(gateway, agent, drawn);
      busy -= 1;
      if (busy === 0) onIdle();
      calls[drawn.name] = (calls[drawn.name] ?? 0) + 1;
      if (!drawn.sees.some((one) => one === seen)) {
        const what = `${drawn.name}: ${seen}`;
        wrong[what] = (wrong[what] ?? 0) + 1;
      }
      await pause(random() * pauseMs);
    }
  };
  const ended = Promise.all(Array.from({ length: clients }, client));
  return Object.freeze({
    calls,
    wrong,
    hold() {
      rest ??= Promise.withResolvers<void>();
      return new Promise<void>((resolve) => {
        onIdle = resolve;
        if (busy === 0) resolve();
      });
    },
    goOn() {
      rest?.resolve();
      rest = null;
    },
    async stop() {
      end.has = true;
      await ended;
      agent.destroy();
    },
  });
}

/** @returns the status of a whole answer, `cut`, `left`, or why there is none */
function play(
  { port, token }: { readonly port: number; readonly token: string },
  agent: Agent,
  { mood, body, leaving }: Kind,
): Promise<number | string> {
  return new Promise((resolve) => {
    const asked = request({
      port,
      agent,
      host: '127.0.0.1',
      method: 'POST',
      path: mood === 'embedding' ? '/v1/embeddings' : '/v1/chat/completions',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        'content-length': body.length,
      },
    });
    let hasLeft = false;
    const leave = (): void => {
      hasLeft = true;
      asked.destroy();
    };
    asked.on('error', (error) => resolve(hasLeft ? 'left' : error.message));
    asked.on('response', (answer: IncomingMessage) => {
      answer.on('error', () => {});
      answer.on('data', () => void (leaving === 'midway' && leave()));
      answer.on('close', () => {
        if (hasLeft) resolve('left');
        else resolve(answer.complete ? (answer.statusCode ?? 0) : 'cut');
      });
    });
    asked.end(body, () => void (leaving === 'early' && leave()));
  });
}
