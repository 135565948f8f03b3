import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { errorTable } from '../errors.ts';
import { guardsOf } from '../gateway/own-headers.ts';

/** Why something that came is not a request that could be served, before anybody looks at what it asks for. */
export interface Flaw {
  readonly status: number;
  readonly sentence: string;
  readonly code: 'REQUEST_INVALID' | 'REQUEST_TIMEOUT';
}

/** For the words to leave, and for what the client still sends: closing over unread bytes resets, and the words are lost. */
const lingerMs = 1000;

const notPath = bad('The request target has to be a path.');
const noHost = bad('A request of HTTP/1.1 names its host, once.');
const badCoding = bad('The body may be chunked, by HTTP/1.1, and in no other transfer coding.');

/**
 * What Node's parser lets pass, and a proxy before us may have read otherwise. An absolute-form target names a host that no check of ours
 * looks at; `*` and authority-form name nothing of ours.
 */
export function flawOf(request: IncomingMessage): Flaw | null {
  if (request.url?.startsWith('/') !== true) return notPath;
  const { rawHeaders } = request;
  const isOld = request.httpVersionMinor === 0;
  let hosts = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    if (name.length === 4 && name.toLowerCase() === 'host') hosts += 1;
  }
  if (hosts > 1 || (hosts === 0 && !isOld)) return noHost;
  const coding = request.headers['transfer-encoding'];
  if (coding !== undefined && (isOld || coding.toLowerCase() !== 'chunked')) return badCoding;
  return null;
}

/** Answers and closes: where a flaw was, the next request cannot be told from the rest of this one. */
export function sendFlaw(request: IncomingMessage, response: ServerResponse, found: Flaw): void {
  response.writeHead(found.status, headersOf(request, found)).end(textOf(found));
}

/** The same where there is no answer to write to, or none has begun. */
export function writeFlaw(socket: Socket, found: Flaw): void {
  // Bytes after the flaw are flaws too, and each is told again.
  if (socket.writableEnded || socket.destroyed) return;
  const headers = headersOf({ socket }, found);
  const lines = [`HTTP/1.1 ${found.status} ${STATUS_CODES[found.status] ?? ''}`];
  for (let i = 0; i < headers.length; i += 2) lines.push(`${headers[i]}: ${headers[i + 1]}`);
  const linger = setTimeout(() => socket.destroy(), lingerMs);
  socket
    .on('error', () => {})
    .once('close', () => clearTimeout(linger))
    .end(`${lines.join('\r\n')}\r\n\r\n${textOf(found)}`);
  socket.resume();
}

/** For fastify's `clientErrorHandler`: what the parser or the clock of the server refused. */
export function refuseUnparsed(error: Error & { readonly code?: unknown }, socket: Socket): void {
  const code = typeof error.code === 'string' ? error.code : '';
  const isParsers = code.startsWith('HPE_') || code === 'ERR_HTTP_REQUEST_TIMEOUT';
  // A handshake that failed, or a reset, leaves nobody to talk to.
  if (!isParsers || !socket.writable || isAnswering(socket)) {
    // Words for the end that has been written are on their way.
    if (!socket.writableEnded) socket.destroy();
    return;
  }
  writeFlaw(socket, unparsed[code] ?? bad('This could not be read as a request of HTTP/1.1.'));
}

const unparsed: Readonly<Record<string, Flaw>> = {
  HPE_HEADER_OVERFLOW: flaw(431, 'The headers of a request may take 16 KiB together.'),
  HPE_CHUNK_EXTENSIONS_OVERFLOW: flaw(413, 'The extensions of a chunk are too long.'),
  ERR_HTTP_REQUEST_TIMEOUT: late('The head of a request has to come within 30 seconds.'),
  HPE_PAUSED_H2_UPGRADE: flaw(505, 'HTTP/1.1 is spoken here, and no other version.'),
};

/** Words of ours in the middle of an answer would look like a part of it. As Node's own handler asks. */
function isAnswering(socket: Socket): boolean {
  const { _httpMessage } = socket as Socket & { readonly _httpMessage?: ServerResponse | null };
  return _httpMessage?.headersSent === true;
}

function headersOf(request: Pick<IncomingMessage, 'socket'>, found: Flaw): string[] {
  return [
    ...guardsOf(request),
    'x-sallyport-code',
    found.code,
    ...(errorTable[found.code].retry ? [] : ['x-should-retry', 'false']),
    'content-type',
    'text/plain; charset=utf-8',
    'content-length',
    String(Buffer.byteLength(textOf(found))),
    'connection',
    'close',
  ];
}

function textOf({ sentence }: Flaw): string {
  return `${sentence}\n`;
}

/** REQUEST_INVALID with the status that HTTP has for it. */
export function flaw(status: number, sentence: string): Flaw {
  return { status, sentence, code: 'REQUEST_INVALID' };
}

export function late(sentence: string): Flaw {
  return { status: errorTable.REQUEST_TIMEOUT.status, sentence, code: 'REQUEST_TIMEOUT' };
}

function bad(sentence: string): Flaw {
  return flaw(errorTable.REQUEST_INVALID.status, sentence);
}
