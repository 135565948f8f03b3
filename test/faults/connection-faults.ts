import {
  brokenAfter,
  chat,
  chunk,
  head,
  inChunks,
  json,
  jsonChat,
  sse,
  type Fault,
  type Route,
  type Scene,
} from './fault.ts';

const refused = {
  status: 502,
  code: 'UPSTREAM_ERROR',
  isWhole: true,
  body: /The connection to OpenAI failed/,
};
const failed = ['UPSTREAM_ERROR upstream_broken unknown'];

/** Writes, and cuts once the client has n bytes of it: what a reset overtakes is lost. */
function cutAfter(text: string | Buffer, heard: number, how: 'reset' | 'fin') {
  return async ({ socket, heard: until }: Scene): Promise<void> => {
    socket.write(text);
    await until(heard);
    if (how === 'reset') socket.resetAndDestroy();
    else socket.end();
  };
}

const hows = ['reset', 'fin'] as const;
const called = { reset: 'a reset', fin: 'a clean FIN' } as const;

const early: readonly Fault[] = hows.flatMap((how): Fault[] => [
  {
    name: `${called[how]} before the head is a 502`,
    play: ({ socket }) => void (how === 'reset' ? socket.resetAndDestroy() : socket.end()),
    sees: refused,
    ends: failed,
  },
  {
    name: `${called[how]} in the head is a 502`,
    play: ({ socket }) => {
      socket.write(`HTTP/1.1 200 OK\r\n${sse}\r\nx-half`, () =>
        how === 'reset' ? socket.resetAndDestroy() : socket.end(),
      );
    },
    sees: refused,
    ends: failed,
  },
  {
    name: `${called[how]} behind the head of a stream is an error event`,
    play: cutAfter(head(200, sse, inChunks), 0, how),
    sees: { status: 200, isWhole: false, body: brokenAfter('') },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken unknown'],
  },
  {
    name: `${called[how]} behind the head of a JSON answer is a destroyed socket`,
    isStream: false,
    play: cutAfter(head(200, json, 'content-length: 100'), 0, how),
    sees: { status: 200, isWhole: false, body: '' },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken unknown'],
  },
  {
    name: `${called[how]} in a JSON answer is a destroyed socket`,
    isStream: false,
    play: cutAfter(`${head(200, json, 'content-length: 100')}{"choices":[`, 12, how),
    sees: { status: 200, isWhole: false, body: '{"choices":[' },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken unknown'],
  },
  {
    name: `${called[how]} in the middle of an event ends its line before the error event`,
    play: cutAfter(
      Buffer.concat([Buffer.from(head(200, sse, inChunks)), chunk(chat.one), chunk('data: {"choi')]),
      chat.one.length + 12,
      how,
    ),
    sees: { status: 200, isWhole: false, body: brokenAfter(`${chat.one}data: {"choi`) },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken estimated'],
  },
]);

const begun: Readonly<
  Partial<
    Record<
      Route,
      { readonly text: string; readonly usage: string; readonly dialect: 'openai' | 'anthropic' | 'google' }
    >
  >
> = {
  chat: { text: chat.one, usage: 'estimated', dialect: 'openai' },
  custom: { text: chat.one, usage: 'estimated', dialect: 'openai' },
  responses: {
    text: 'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"Hello"}\n\n',
    usage: 'estimated',
    dialect: 'openai',
  },
  messages: {
    text: `event: message_start\ndata: {"type":"message_start","message":{"model":"claude-x","usage":{"input_tokens":7,"output_tokens":1}}}\n\nevent: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello there"}}\n\n`,
    usage: 'estimated',
    dialect: 'anthropic',
  },
  gemini: {
    text: 'data: {"candidates":[{"content":{"parts":[{"text":"Hello"}]}}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":1,"totalTokenCount":8}}\n\n',
    usage: 'estimated',
    dialect: 'google',
  },
  threads: {
    text: 'event: thread.run.created\ndata: {"id":"run_1"}\n\n',
    usage: 'unknown',
    dialect: 'openai',
  },
};

const within: readonly Fault[] = Object.entries(begun).flatMap(([route, { text, usage, dialect }]): Fault[] =>
  hows.map((how) => ({
    name: `${called[how]} in mid-stream on ${route} is an error event of its dialect`,
    route: route as Route,
    play: cutAfter(
      Buffer.concat([Buffer.from(head(200, sse, inChunks)), chunk(text)]),
      Buffer.byteLength(text),
      how,
    ),
    sees: { status: 200, isWhole: false, body: brokenAfter(text, dialect) },
    ends: [`UPSTREAM_STREAM_BROKEN upstream_broken ${usage}`],
  })),
);

/** They need a token with little patience. */
export const hangs: readonly Fault[] = [
  {
    name: 'a provider that says nothing is a 504 after the time for its first byte',
    isHeavy: true,
    play: () => {},
    sees: { status: 504, code: 'UPSTREAM_FIRST_BYTE_TIMEOUT', isWhole: true },
    ends: ['UPSTREAM_FIRST_BYTE_TIMEOUT timeout unknown'],
  },
  {
    name: 'a provider that stops in its head is a 504',
    isHeavy: true,
    play: ({ socket }) => void socket.write('HTTP/1.1 200 OK\r\ncontent-type: text/ev'),
    sees: { status: 504, code: 'UPSTREAM_FIRST_BYTE_TIMEOUT', isWhole: true },
    ends: ['UPSTREAM_FIRST_BYTE_TIMEOUT timeout unknown'],
  },
  {
    name: 'a stream that stalls is an error event after the time between two bytes',
    isHeavy: true,
    play: ({ socket }) =>
      void socket.write(Buffer.concat([Buffer.from(head(200, sse, inChunks)), chunk(chat.one)])),
    sees: { status: 200, isWhole: false, body: brokenAfter(chat.one, 'openai', 'UPSTREAM_IDLE_TIMEOUT') },
    ends: ['UPSTREAM_IDLE_TIMEOUT timeout estimated'],
  },
  {
    name: 'a stream that stalls behind its head is an error event, too',
    isHeavy: true,
    play: ({ socket }) => void socket.write(head(200, sse, inChunks)),
    sees: { status: 200, isWhole: false, body: brokenAfter('', 'openai', 'UPSTREAM_IDLE_TIMEOUT') },
    ends: ['UPSTREAM_IDLE_TIMEOUT timeout unknown'],
  },
  {
    name: 'a JSON answer that stalls is a destroyed socket',
    isHeavy: true,
    isStream: false,
    play: ({ socket }) => void socket.write(`${head(200, json, 'content-length: 100')}{"choices":[`),
    sees: { status: 200, isWhole: false, body: '{"choices":[' },
    ends: ['UPSTREAM_IDLE_TIMEOUT timeout unknown'],
  },
];

/** Clients that go away: the upstream’s connection goes with them. */
export const leavers: readonly Fault[] = [
  {
    name: 'a client gone before the first byte takes the provider’s call with it',
    play: ({ closed }) => closed,
    leavesAfter: -1,
    sees: null,
    ends: ['CLIENT_CLOSED client_closed unknown'],
  },
  {
    name: 'a client gone in mid-stream takes the provider’s call with it, and its usage is estimated',
    play: ({ socket, closed }) => {
      socket.write(Buffer.concat([Buffer.from(head(200, sse, inChunks)), chunk(chat.one)]));
      return closed;
    },
    leavesAfter: chat.one.length,
    sees: null,
    ends: ['CLIENT_CLOSED client_closed estimated'],
  },
  {
    name: 'a client gone in a JSON answer takes the provider’s call with it',
    isStream: false,
    play: ({ socket, closed }) => {
      socket.write(head(200, json, `content-length: ${jsonChat.length}`) + jsonChat.slice(0, 20));
      return closed;
    },
    leavesAfter: 20,
    sees: null,
    ends: ['CLIENT_CLOSED client_closed unknown'],
  },
];

export const connectionFaults: readonly Fault[] = [...early, ...within];
