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
}

export type CaseName = 'small' | 'large' | 'sse';
export const caseNames: readonly CaseName[] = ['small', 'large', 'sse'];

export const chatPath = '/v1/chat/completions';
const model = 'gpt-4o-mini';
const streamChunks = 200;

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

export const cases: Readonly<Record<CaseName, Case>> = {
  small: {
    name: 'small',
    title: 'small JSON (1 KB in, 1.5 KB out)',
    body: request(1024, false),
    connections: 16,
    ...expected([wholeAnswer]),
  },
  large: {
    name: 'large',
    title: 'large JSON (100 KB in, 1.5 KB out)',
    body: request(102_400, false),
    connections: 8,
    ...expected([wholeAnswer]),
  },
  sse: {
    name: 'sse',
    title: `SSE as fast as it goes (1 KB in, ${streamChunks} chunks out)`,
    body: request(1024, true),
    connections: 8,
    ...expected([...streamEvents, doneEvent]),
  },
};

function expected(parts: readonly Buffer[]): { answerBytes: number; answerCrc: number } {
  const whole = Buffer.concat(parts);
  return { answerBytes: whole.length, answerCrc: crc32(whole) };
}

/** A conversation of short messages with escapes in them, as chats are; one long string would flatter every JSON reader. */
function request(bytes: number, isStream: boolean): Buffer {
  const line = 'He said: "a gate has two doors"\nand that they are never open at once — naïve, but true. ';
  const messages: { role: string; content: string }[] = [];
  const whole = (content: string): unknown => ({
    model,
    ...(isStream ? { stream: true } : {}),
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
