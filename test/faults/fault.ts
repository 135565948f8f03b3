import type { Socket } from 'node:net';
import type { RawRequest } from '../support/raw-upstream.ts';

/** How a client asks, and so in which dialect it is told. */
export type Route = 'chat' | 'responses' | 'messages' | 'gemini' | 'custom' | 'files' | 'threads';

/** The upstream's side of one call. */
export interface Scene extends RawRequest {
  readonly socket: Socket;
  /** The client has the head of its answer, and n bytes of the body: a reset may overtake what was sent before it. */
  readonly heard: (bytes: number) => Promise<void>;
  /** The gateway has seen that the client is gone. */
  readonly left: Promise<void>;
}

/** What the client sees. */
export interface Sight {
  readonly status: number;
  /** `x-sallyport-code`; left out: there is none. */
  readonly code?: string;
  /** Its framing says that all has come. */
  readonly isWhole: boolean;
  /** A text: exactly these bytes. */
  readonly body?: string | Buffer | RegExp;
  /** Of the body. */
  readonly maxBytes?: number;
  readonly headers?: Readonly<Record<string, string | RegExp | null>>;
}

/** One thing that a provider, or a client, does wrong. */
export interface Fault {
  /** A sentence: the test's name. */
  readonly name: string;
  /** `chat` */
  readonly route?: Route;
  /** Asks for a stream unless false. */
  readonly isStream?: boolean;
  readonly method?: string;
  readonly play: (scene: Scene) => void | Promise<void>;
  /** Tens of megabytes, or a second of silence: not for thousands of times. */
  readonly isHeavy?: boolean;
  /** The upstream answers without having the body. */
  readonly isEarly?: boolean;
  /** The client goes away: with its request sent, or as soon as it has this many bytes of the answer's body. */
  readonly leavesAfter?: number;
  /** Null where the client does not wait for it. */
  readonly sees: Sight | null;
  /** `outcome endReason usageSource` of each attempt, in order. */
  readonly ends: readonly string[];
  /** Requests that the upstream gets: as many as attempts unless said otherwise. */
  readonly requests?: number;
}

type Dialect = 'openai' | 'anthropic' | 'google';

/** What is written where a stream broke, and ends it. */
export function errorEvent(dialect: Dialect = 'openai', code = 'UPSTREAM_STREAM_BROKEN'): string {
  if (dialect === 'openai')
    return String.raw`\n\ndata: \{"error":\{"message":"[^"]+","type":"\w+_error","param":null,"code":"${code}"\}\}\n\n$`;
  if (dialect === 'anthropic')
    return String.raw`\n\nevent: error\ndata: \{"type":"error","error":\{"type":"api_error","message":"${code}: [^"]+"\},"request_id":"call_[0-9a-f]{32}"\}\n\n$`;
  return String.raw`\n\ndata: \{"error":\{"code":502,"message":"${code}: [^"]+","status":"INTERNAL"\}\}\n\n$`;
}

/** These bytes, and then the error event. */
export function brokenAfter(told: string, dialect?: Dialect, code?: string): RegExp {
  const text = Buffer.from(told)
    .toString('latin1')
    .replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  return new RegExp(`^${text}${errorEvent(dialect, code)}`);
}

export const sse = 'content-type: text/event-stream';
export const json = 'content-type: application/json';
export const inChunks = 'transfer-encoding: chunked';

export function head(status: number | string, ...headers: readonly string[]): string {
  return `HTTP/1.1 ${status} ${status === 200 ? 'OK' : 'As Scripted'}\r\n${headers.map((line) => `${line}\r\n`).join('')}\r\n`;
}

/** One chunk of `transfer-encoding: chunked`. */
export function chunk(data: string | Buffer): Buffer {
  const bytes = Buffer.from(data as string);
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]);
}

export const lastChunk = '0\r\n\r\n';

/** A whole answer with its length. */
export function answer(status: number, body: string | Buffer, ...headers: readonly string[]): Buffer {
  return Buffer.concat([
    Buffer.from(head(status, ...headers, `content-length: ${Buffer.byteLength(body)}`)),
    Buffer.from(body as string),
  ]);
}

const usage = { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 };
const delta = (content: string): string =>
  `data: ${JSON.stringify({ object: 'chat.completion.chunk', id: 'c', choices: [{ index: 0, delta: { content } }] })}\n\n`;

/** OpenAI's stream, in parts. */
export const chat = {
  one: delta('Hello there, '),
  two: delta('schöne Welt'),
  finish: `data: ${JSON.stringify({ object: 'chat.completion.chunk', id: 'c', choices: [{ index: 0, delta: {}, finish_reason: 'stop' }], usage })}\n\n`,
  done: 'data: [DONE]\n\n',
} as const;
export const wholeChat = chat.one + chat.two + chat.finish + chat.done;
export const jsonChat = JSON.stringify({
  object: 'chat.completion',
  id: 'c',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Hello' }, finish_reason: 'stop' }],
  usage,
});
