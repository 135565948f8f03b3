import { gzipSync } from 'node:zlib';
import type { Socket } from 'node:net';
import {
  brokenAfter,
  errorEvent,
  chat,
  chunk,
  head,
  inChunks,
  lastChunk,
  sse,
  wholeChat,
  type Fault,
} from './fault.ts';

const close = 'connection: close';
const whole = ['ok complete provider'];

/** A stream that ends as HTTP wants it. */
function stream(bytes: string | Buffer, ...headers: readonly string[]): Fault['play'] {
  return ({ socket }) =>
    void socket.end(
      Buffer.concat([
        Buffer.from(head(200, sse, inChunks, close, ...headers)),
        chunk(bytes),
        Buffer.from(lastChunk),
      ]),
    );
}

/** Chunk by chunk, each in a write of its own. */
function pieces(all: readonly Buffer[]): Fault['play'] {
  return async ({ socket }) => {
    socket.write(head(200, sse, inChunks, close));
    for (const piece of all) {
      socket.write(chunk(piece));
      await new Promise(setImmediate);
    }
    socket.end(lastChunk);
  };
}

/** A gigabyte is announced, and written for as long as anybody takes it. */
function endlessLine(socket: Socket, start: string): void {
  const block = Buffer.alloc(0x8_0000, 0x61);
  const more = (): void => {
    while (!socket.destroyed && socket.bytesWritten < 0x4000_0000 && socket.write(block));
  };
  socket.write(`${head(200, sse, inChunks, close)}40000000\r\n${start}`);
  socket.on('drain', more);
  more();
}

const bytes = Buffer.from(wholeChat);
const umlaut = bytes.indexOf(0xc3);

const spellings: readonly Fault[] = (
  [
    ['CR', wholeChat.replaceAll('\n', '\r')],
    ['CRLF', wholeChat.replaceAll('\n', '\r\n')],
    ['a BOM before them', `\uFEFF${wholeChat}`],
    ['comments and unknown fields between them', `: hello\n\nfoo: bar\nretry: 5\n\n${wholeChat}`],
    [
      'an event that is no JSON among them',
      `${chat.one}data: {"choices":[{"del\n\n${chat.finish}${chat.done}`,
    ],
    ['words behind the last one', `${wholeChat}: bye\n\n`],
  ] as const
).map(([what, text]) => ({
  name: `events with ${what} go to the client byte for byte`,
  play: stream(text),
  sees: { status: 200, isWhole: true, body: Buffer.from(text) },
  ends: whole,
}));

export const streamFaults: readonly Fault[] = [
  ...spellings,
  {
    name: 'a stream that comes byte by byte is the same stream',
    play: pieces([...bytes].map((byte) => Buffer.from([byte]))),
    sees: { status: 200, isWhole: true, body: bytes },
    ends: whole,
  },
  {
    name: 'a letter split over two chunks is the same letter',
    play: pieces([bytes.subarray(0, umlaut + 1), bytes.subarray(umlaut + 1)]),
    sees: { status: 200, isWhole: true, body: bytes },
    ends: whole,
  },
  {
    name: 'a stream that ends before its last word is broken, though HTTP ended it',
    play: stream(chat.one + chat.two),
    sees: { status: 200, isWhole: false, body: brokenAfter(chat.one + chat.two) },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken estimated'],
  },
  {
    name: 'a stream without an event is broken',
    play: ({ socket }) => void socket.end(head(200, sse, inChunks, close) + lastChunk),
    sees: { status: 200, isWhole: false, body: brokenAfter('') },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken unknown'],
  },
  {
    name: 'a stream without an end of line is broken',
    play: stream('data: {"choices":[{"index":0,"delta":{"content":"no end'),
    sees: {
      status: 200,
      isWhole: false,
      body: brokenAfter('data: {"choices":[{"index":0,"delta":{"content":"no end'),
    },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken unknown'],
  },
  {
    name: 'an event whose end is the end of a custom stream goes through',
    route: 'custom',
    play: stream(`${chat.one}data: [DONE]`),
    sees: { status: 200, isWhole: true, body: `${chat.one}data: [DONE]` },
    ends: ['ok complete unknown'],
  },
  {
    name: 'an event of some megabytes, as pictures are, goes through',
    isHeavy: true,
    play: stream(
      `data: {"choices":[],"b64_json":"${'QUJD'.repeat(1_000_000)}"}\n\n${chat.finish}${chat.done}`,
    ),
    sees: {
      status: 200,
      isWhole: true,
      body: `data: {"choices":[],"b64_json":"${'QUJD'.repeat(1_000_000)}"}\n\n${chat.finish}${chat.done}`,
    },
    ends: whole,
  },
  {
    name: 'a line of a gigabyte is cut at the bound',
    isHeavy: true,
    play: ({ socket }) => endlessLine(socket, 'data: '),
    sees: {
      status: 200,
      isWhole: false,
      body: new RegExp(`^data: a+${errorEvent()}`),
      maxBytes: 65 << 20,
    },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken unknown'],
  },
  {
    name: 'a line of a gigabyte that is no field of an event is cut at a megabyte',
    play: ({ socket }) => endlessLine(socket, ''),
    sees: {
      status: 200,
      isWhole: false,
      body: new RegExp(`^a+${errorEvent()}`),
      maxBytes: 1.1 * 2 ** 20,
    },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken unknown'],
  },
  {
    name: 'bytes that are no text in place of events are a broken stream',
    play: stream(
      Buffer.concat([Buffer.from(chat.one), Buffer.from([0, 1, 2, 3, 0xff, 0xfe]), Buffer.from(wholeChat)]),
    ),
    sees: { status: 200, isWhole: false, body: new RegExp(errorEvent()) },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken unknown'],
  },
  ...(['chat', 'custom'] as const).map((route): Fault => ({
    name: `a page in place of events on ${route} is a broken stream`,
    route,
    play: stream('<!doctype html>\n<html><body>Maintenance</body></html>\n'),
    sees: { status: 200, isWhole: false, body: new RegExp(errorEvent()) },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken unknown'],
  })),
  {
    name: 'an error within a stream goes through, and nothing is added to it',
    play: stream(
      `${chat.one}data: {"error":{"message":"The server had an error","type":"server_error"}}\n\n`,
    ),
    sees: {
      status: 200,
      isWhole: true,
      body: `${chat.one}data: {"error":{"message":"The server had an error","type":"server_error"}}\n\n`,
    },
    ends: ['UPSTREAM_ERROR upstream_broken estimated'],
  },
  {
    name: 'an error within a stream that is then cut is told as both',
    play: async ({ socket, heard }) => {
      const error = 'data: {"error":{"message":"Overloaded"}}\n\n';
      socket.write(Buffer.concat([Buffer.from(head(200, sse, inChunks)), chunk(chat.one + error)]));
      await heard(chat.one.length + error.length);
      socket.resetAndDestroy();
    },
    sees: {
      status: 200,
      isWhole: false,
      body: brokenAfter(`${chat.one}data: {"error":{"message":"Overloaded"}}\n\n`),
    },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken estimated'],
  },
  {
    name: 'chunks that are none are a broken stream',
    play: ({ socket }) =>
      void socket.end(
        Buffer.concat([
          Buffer.from(head(200, sse, inChunks, close)),
          chunk(chat.one),
          Buffer.from('zzz\r\nnot a chunk\r\n'),
        ]),
      ),
    sees: { status: 200, isWhole: false, body: brokenAfter(chat.one) },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken estimated'],
  },
  {
    name: 'a stream that ends with its connection is whole with its last word',
    play: ({ socket }) => void socket.end(head(200, sse, close) + wholeChat),
    sees: { status: 200, isWhole: true, body: bytes },
    ends: whole,
  },
  {
    name: 'a stream that ends with its connection before its last word is broken',
    play: ({ socket }) => void socket.end(head(200, sse, close) + chat.one),
    sees: { status: 200, isWhole: false, body: brokenAfter(chat.one) },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken estimated'],
  },
  {
    name: 'a custom stream that ends with its connection in the middle of a line is broken',
    route: 'custom',
    play: ({ socket }) => void socket.end(`${head(200, sse, close)}${chat.one}data: {"choi`),
    sees: { status: 200, isWhole: false, body: brokenAfter(`${chat.one}data: {"choi`) },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken estimated'],
  },
  {
    name: 'a compressed stream goes through as it is',
    play: stream(gzipSync(wholeChat), 'content-encoding: gzip'),
    sees: { status: 200, isWhole: true, body: gzipSync(wholeChat), headers: { 'content-encoding': 'gzip' } },
    ends: whole,
  },
  {
    name: 'a compressed stream that is cut is a destroyed socket, with no text among its bytes',
    play: async ({ socket, heard }) => {
      const half = gzipSync(wholeChat).subarray(0, 40);
      socket.write(
        Buffer.concat([Buffer.from(head(200, sse, inChunks, 'content-encoding: gzip')), chunk(half)]),
      );
      await heard(half.length);
      socket.resetAndDestroy();
    },
    sees: { status: 200, isWhole: false, body: gzipSync(wholeChat).subarray(0, 40) },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken unknown'],
  },
  {
    name: 'a stream of JSON lines that is cut is a destroyed socket, with nothing added',
    play: async ({ socket, heard }) => {
      socket.write(
        Buffer.concat([
          Buffer.from(head(200, 'content-type: application/x-ndjson', inChunks)),
          chunk('{"a":1}\n{"a"'),
        ]),
      );
      await heard(12);
      socket.resetAndDestroy();
    },
    route: 'custom',
    sees: { status: 200, isWhole: false, body: '{"a":1}\n{"a"' },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken unknown'],
  },
  {
    name: 'an array of answers that is cut is a destroyed socket, with nothing added',
    route: 'gemini',
    play: async ({ socket, heard }) => {
      socket.write(
        Buffer.concat([
          Buffer.from(head(200, 'content-type: application/json', inChunks)),
          chunk('[{"candidates":[]},'),
        ]),
      );
      await heard(19);
      socket.end();
    },
    sees: { status: 200, isWhole: false, body: '[{"candidates":[]},' },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken unknown'],
  },
];
