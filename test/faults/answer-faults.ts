import { brotliCompressSync, gzipSync } from 'node:zlib';
import { answer, chunk, head, inChunks, json, jsonChat, type Fault, type Sight } from './fault.ts';

const close = 'connection: close';
const whole = ['ok complete provider'];
const unread = ['ok complete unknown'];
const told: Sight = { status: 200, isWhole: true, body: jsonChat };
const refused: Sight = { status: 502, code: 'UPSTREAM_ERROR', isWhole: true };
const failed = ['UPSTREAM_ERROR upstream_broken unknown'];

function says(...parts: readonly (string | Buffer)[]): Pick<Fault, 'play' | 'isStream'> {
  const all = Buffer.concat(parts.map((part) => Buffer.from(part as string)));
  return { isStream: false, play: ({ socket }) => void socket.end(all) };
}

const lines = (count: number, name: string): string[] =>
  Array.from({ length: count }, (_, n) => `${name}-${n}: ${n}`);

/** Heads and bodies that are not as they should be. */
export const answerFaults: readonly Fault[] = [
  {
    name: 'a body shorter than its content-length is a destroyed socket',
    ...says(head(200, json, 'content-length: 9999', close), jsonChat),
    sees: { status: 200, isWhole: false, body: jsonChat },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken provider'],
  },
  {
    name: 'a body longer than its content-length ends where it said, and what follows is nobody’s answer',
    ...says(answer(200, jsonChat, json), 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong'),
    sees: told,
    ends: whole,
  },
  ...[
    ['both a content-length and a transfer-encoding', [`content-length: ${jsonChat.length}`, inChunks]],
    ['two content-lengths', ['content-length: 5', 'content-length: 500']],
    ['a content-length that is no number', ['content-length: -5']],
    ['a transfer-encoding that nobody knows', ['transfer-encoding: chunked, rot13, chunked, x']],
    ['a head of 64 KiB', [`x-long: ${'a'.repeat(65_536)}`, 'content-length: 2']],
    ['a head of 64 KiB in many lines', [...lines(5000, 'x-line'), 'content-length: 2']],
    ['a NUL in a header', ['x-nul: a\0b', 'content-length: 2']],
  ].map(([what, headers]): Fault => ({
    name: `${what as string} is a 502`,
    ...says(head(200, json, ...(headers as string[]), close), jsonChat),
    sees: refused,
    ends: failed,
  })),
  {
    name: 'words that are no HTTP are a 502',
    ...says('SSH-2.0-OpenSSH_9.9\r\n'),
    sees: refused,
    ends: failed,
  },
  {
    name: '300 headers are none of the client’s business, and no fault',
    ...says(answer(200, jsonChat, json, ...lines(300, 'x-line'), close)),
    sees: { ...told, headers: { 'x-line-7': null } },
    ends: whole,
  },
  {
    name: 'a 103 before the answer is passed over',
    ...says(head(103, 'link: </x>; rel=preload'), head(102), answer(200, jsonChat, json, close)),
    sees: { ...told, headers: { link: null } },
    ends: whole,
  },
  {
    name: 'a 100 that nobody asked for is passed over',
    ...says(head(100), answer(200, jsonChat, json, close)),
    sees: told,
    ends: whole,
  },
  {
    name: 'a 100 in pieces, and another one, are passed over',
    isStream: false,
    play: async ({ socket }) => {
      for (const piece of (head(100, 'x-y: z') + head(100)).match(/[^]{1,9}/g) ?? []) {
        socket.write(piece);
        await new Promise(setImmediate);
      }
      socket.end(answer(200, jsonChat, json, close));
    },
    sees: told,
    ends: whole,
  },
  {
    name: 'informational answers without an end are a 502',
    isStream: false,
    play: ({ socket }) => {
      const more = (): void => {
        while (!socket.destroyed && socket.write(head(103, 'link: </x>').repeat(100)));
      };
      socket.on('drain', more);
      more();
    },
    sees: refused,
    ends: failed,
  },
  {
    name: 'a change of protocols that nobody asked for is a 502',
    ...says(head(101, 'upgrade: websocket', 'connection: upgrade'), 'frames'),
    sees: refused,
    ends: failed,
  },
  {
    name: 'a 204 has no body',
    ...says(head(204, close)),
    sees: { status: 204, isWhole: true, body: '' },
    ends: unread,
  },
  {
    name: 'bytes behind a 204 are nobody’s',
    ...says(head(204), 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong'),
    sees: { status: 204, isWhole: true, body: '' },
    ends: unread,
  },
  {
    name: 'a 304 has no body, whatever its length says',
    ...says(head(304, 'content-length: 500', 'etag: "x"', close)),
    sees: { status: 304, isWhole: true, body: '' },
    ends: unread,
  },
  {
    name: 'trailers are dropped',
    ...says(
      head(200, json, inChunks, 'trailer: x-sum', close),
      chunk(jsonChat),
      '0\r\nx-sum: 5\r\nset-cookie: a=b\r\n\r\n',
    ),
    sees: { ...told, headers: { trailer: null, 'x-sum': null } },
    ends: whole,
  },
  {
    name: 'a body that ends with its connection is whole where its format says so',
    ...says(head(200, json, close), jsonChat),
    sees: told,
    ends: whole,
  },
  {
    name: 'a JSON body that ends with its connection too early is a destroyed socket',
    ...says(head(200, json, close), jsonChat.slice(0, 50)),
    sees: { status: 200, isWhole: false, body: jsonChat.slice(0, 50) },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken unknown'],
  },
  {
    name: 'JSON that is none is the provider’s affair where HTTP says that all has come',
    ...says(answer(200, jsonChat.slice(0, 50), json, close)),
    sees: { status: 200, isWhole: true, body: jsonChat.slice(0, 50) },
    ends: unread,
  },
  ...(
    [
      ['gzip', gzipSync(jsonChat)],
      ['br', brotliCompressSync(jsonChat)],
    ] as const
  ).map(([encoding, bytes]): Fault => ({
    name: `an answer in ${encoding} goes through as it is, and is metered`,
    ...says(answer(200, bytes, json, `content-encoding: ${encoding}`, close)),
    sees: { status: 200, isWhole: true, body: bytes, headers: { 'content-encoding': encoding } },
    ends: whole,
  })),
  {
    name: 'a compressed bomb goes through as it is, and is not metered',
    ...says(answer(200, gzipSync(Buffer.alloc(64 << 20, 0x20)), json, 'content-encoding: gzip', close)),
    sees: { status: 200, isWhole: true },
    ends: unread,
  },
  ...(['chat', 'custom'] as const).map((route): Fault => ({
    name: `a page with a 200 on ${route} is a 502 that says so`,
    ...says(
      answer(
        200,
        '<html>Sign in to the hotel’s network</html>',
        'content-type: text/html; charset=utf-8',
        close,
      ),
    ),
    route,
    sees: { ...refused, body: /web page/ },
    ends: failed,
  })),
  {
    name: 'a page is an answer where files are kept',
    ...says(answer(200, '<html>mine</html>', 'content-type: text/html', close)),
    route: 'files',
    sees: { status: 200, isWhole: true, body: '<html>mine</html>' },
    ends: unread,
  },
  {
    name: 'an answer before the body is read goes through',
    ...says(answer(200, jsonChat, json, close)),
    isEarly: true,
    route: 'files',
    sees: { status: 200, isWhole: true, body: jsonChat },
    ends: unread,
  },
  {
    name: 'a redirect is an answer, and leads nowhere',
    ...says(answer(307, '', 'location: http://127.0.0.1:1/steal', close)),
    sees: { status: 307, isWhole: true, body: '', headers: { location: null } },
    ends: unread,
  },
  {
    name: 'an error in place of an answer is recorded as one',
    ...says(answer(200, '{"error":{"message":"no","type":"server_error"}}', json, close)),
    sees: { status: 200, isWhole: true, body: '{"error":{"message":"no","type":"server_error"}}' },
    ends: ['UPSTREAM_ERROR upstream_broken unknown'],
  },
  {
    name: 'an error without an end is told as far as it is kept, and cut',
    isStream: false,
    play: async ({ socket, heard }) => {
      socket.write(head(500, json, inChunks));
      socket.write(chunk(Buffer.alloc(100_000, 0x20)));
      await heard(100_000);
      socket.resetAndDestroy();
    },
    sees: { status: 500, code: 'UPSTREAM_ERROR', isWhole: false },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken unknown'],
  },
  {
    name: 'an error that breaks off is a 502 of ours',
    ...says(head(500, json, 'content-length: 500', close), '{"error":'),
    sees: refused,
    ends: failed,
  },
  {
    name: 'chunks without a last one are a destroyed socket',
    ...says(head(200, json, inChunks, close), chunk(jsonChat)),
    sees: { status: 200, isWhole: false, body: jsonChat },
    ends: ['UPSTREAM_STREAM_BROKEN upstream_broken provider'],
  },
];
