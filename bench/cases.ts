import { crc32 } from 'node:zlib';

/** One kind of call: what is sent, and exactly what has to come back. */
export interface Case {
  readonly name: CaseName;
  readonly title: string;
  readonly body: Buffer;
  /** Calls under way at once while CPU time is measured: enough to keep one process busy, few enough to queue little. */
  readonly connections: number;
  readonly answerBytes: number;
  readonly answerCrc: number;
  /** Before anything is measured: until Node.js has compiled what such a call runs through. */
  readonly warmUpCalls: number;
  /** What CPU time is counted by, and how many of them one call has. */
  readonly unit: 'call' | 'chunk';
  readonly unitsPerCall: number;
  /** Is a call alone, on one connection, worth a look? */
  readonly hasLatency: boolean;
}

export const caseNames = ['small', 'large', 'sse', 'paced', 'tls', 'features', 'held'] as const;
export type CaseName = (typeof caseNames)[number];

export const chatPath = '/v1/chat/completions';
const model = 'gpt-4o-mini';
const streamChunks = 200;
/** 50 chunks a second, for a little less than two seconds: the load begins each connection's second call then. */
export const chunkMs = 20;
export const pacedChunks = 90;

export const wholeAnswer = padded(1536, (content) => ({
  id: 'chatcmpl-bench',
  object: 'chat.completion',
  created: 1_760_000_000,
  model,
  choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 200, completion_tokens: 300, total_tokens: 500 },
}));

/** The events of a stream; the usage event is sent to those who asked for it, which is the gateway and not its client. */
export const streamEvents: readonly Buffer[] = Array.from({ length: streamChunks }, (_, i) =>
  event({
    choices: [
      {
        index: 0,
        delta: { content: ` word${i}` },
        logprobs: null,
        finish_reason: i === streamChunks - 1 ? 'stop' : null,
      },
    ],
    usage: null,
  }),
);
export const usageEvent = event({
  choices: [],
  usage: { prompt_tokens: 200, completion_tokens: streamChunks, total_tokens: 200 + streamChunks },
});
export const doneEvent = Buffer.from('data: [DONE]\n\n');

const perCall = { unit: 'call', unitsPerCall: 1, hasLatency: false } as const;
const smallCall = {
  ...perCall,
  warmUpCalls: 15_000,
  body: request(1024, null),
  connections: 16,
  ...expected([wholeAnswer]),
};

export const cases: Readonly<Record<CaseName, Case>> = {
  small: { ...smallCall, name: 'small', title: 'small JSON (1 KB in, 1.5 KB out)', hasLatency: true },
  large: {
    ...perCall,
    name: 'large',
    title: 'large JSON (100 KB in, 1.5 KB out)',
    body: request(102_400, null),
    warmUpCalls: 6000,
    connections: 8,
    ...expected([wholeAnswer]),
  },
  sse: {
    ...perCall,
    name: 'sse',
    title: `SSE as fast as it goes (1 KB in, ${streamChunks} chunks out)`,
    body: request(1024, 'raced'),
    warmUpCalls: 3000,
    connections: 8,
    ...expected([...streamEvents, doneEvent]),
  },
  paced: {
    name: 'paced',
    title: 'SSE paced: 100 streams of 50 chunks a second',
    body: request(1024, 'paced'),
    warmUpCalls: 200,
    connections: 100,
    ...expected([...streamEvents.slice(0, pacedChunks), doneEvent]),
    unit: 'chunk',
    unitsPerCall: pacedChunks,
    hasLatency: false,
  },
  tls: { ...smallCall, name: 'tls', title: 'small JSON, the provider by TLS and in clear' },
  features: { ...smallCall, name: 'features', title: 'small JSON, features switched off one by one' },
  held: { ...smallCall, name: 'held', title: 'small JSON, alone and beside streams that are held' },
};

/** One event, then silence until all are let go. */
export const heldStream = {
  body: request(1024, 'held'),
  ...expected([...streamEvents.slice(0, 1), doneEvent]),
};

function expected(parts: readonly Buffer[]): { answerBytes: number; answerCrc: number } {
  const whole = Buffer.concat(parts);
  return { answerBytes: whole.length, answerCrc: crc32(whole) };
}

/**
 * A conversation of short messages with escapes in them, as chats are; one long string would flatter every JSON reader.
 *
 * @param stream how the stand-in is to send its events; null: no stream
 */
function request(bytes: number, stream: 'raced' | 'paced' | 'held' | null): Buffer {
  const line = 'He said: "a gate has two doors"\nand that they are never open at once — naïve, but true. ';
  const messages: { role: string; content: string }[] = [];
  const whole = (content: string): unknown => ({
    model,
    ...(stream === null ? {} : { stream: true, user: stream }),
    temperature: 0.2,
    messages: [...messages, { role: 'user', content }],
  });
  while (sizeOf(whole(line)) + 200 < bytes) {
    messages.push({ role: messages.length % 2 === 0 ? 'user' : 'assistant', content: line });
  }
  return padded(bytes, whole);
}

/** `make` with a text that brings its JSON to exactly `bytes`. */
function padded(bytes: number, make: (text: string) => unknown): Buffer {
  const missing = bytes - sizeOf(make(''));
  if (missing < 0) throw new RangeError(`${bytes} bytes are too few`);
  return Buffer.from(JSON.stringify(make('x'.repeat(missing))));
}

function sizeOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

function event(more: object): Buffer {
  const head = { id: 'chatcmpl-bench', object: 'chat.completion.chunk', created: 1_760_000_000, model };
  return Buffer.from(`data: ${JSON.stringify({ ...head, ...more })}\n\n`);
}
