/**
 * The provider of a bench, a child process: answers chat completions with bytes made before, and only to the one key. It does no more
 * of HTTP than it must, so that what is measured is never it; the row `direct` shows how far from its limit the rest is. argv: the
 * key, and files of a certificate and its key where it is to speak TLS too. Tells its ports over the parent's channel, ends what it
 * holds when told anything, and ends with the channel.
 */
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { chatPath, chunkMs, doneEvent, pacedChunks, streamEvents, usageEvent, wholeAnswer } from './cases.ts';
import { createPacer } from './pacer.ts';
import { createRequestReader, type Request } from './request-reader.ts';

export interface StandInPorts {
  readonly port: number;
  /** Null without a certificate. */
  readonly tlsPort: number | null;
}

const [key = '', certFile, keyFile] = process.argv.slice(2);
const credential = `Bearer ${key}`;

const whole = answer('200 OK', wholeAnswer);
const refusal = answer('401 Unauthorized', Buffer.from('{"error":{"message":"no"}}'));
const streamHead = Buffer.from(
  'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n',
);
const events = streamEvents.map(chunk);
const [usage, done, end] = [chunk(usageEvent), chunk(doneEvent), Buffer.from('0\r\n\r\n')];
const pacer = createPacer(chunkMs);
const held = new Set<() => void>();

function answer(status: string, body: Buffer): Buffer {
  const head = `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

function chunk(body: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n')]);
}

function serve(socket: Socket): void {
  const reader = createRequestReader((request) => reply(socket, request));
  socket.on('data', (part: Buffer) => {
    try {
      reader.push(part);
    } catch {
      socket.destroy();
    }
  });
  socket.on('error', () => {});
}

function reply(socket: Socket, { head, body }: Request): void {
  if (!head.startsWith(`POST ${chatPath} `) || !isFromKeyHolder(head)) return void socket.write(refusal);
  if (!body.includes('"stream":true')) return void socket.write(whole);
  const tail = body.includes('"include_usage":true') ? [usage, done, end] : [done, end];
  const kind = /"user":"(\w+)"/.exec(body)?.[1];
  socket.write(streamHead);
  if (kind === 'held') hold(socket, tail);
  else if (kind === 'paced') pace(socket, tail);
  else race(socket, tail);
}

function isFromKeyHolder(head: string): boolean {
  return /\r\nauthorization: *([^\r]*)/i.exec(head)?.[1] === credential;
}

/** Each event is a write of its own, as a provider's would be: within one turn Node would send them all as one. */
function race(socket: Socket, tail: readonly Buffer[]): void {
  let next = 0;
  const step = (): void => {
    const part = events[next] ?? tail[next - events.length];
    if (socket.destroyed || part === undefined) return;
    next += 1;
    if (socket.write(part)) process.nextTick(step);
    else socket.once('drain', step);
  };
  step();
}

function pace(socket: Socket, tail: readonly Buffer[]): void {
  let next = 0;
  pacer.add(() => {
    if (socket.destroyed) return false;
    const part = events[next];
    next += 1;
    if (part === undefined) return false;
    socket.write(part);
    if (next === pacedChunks) for (const last of tail) socket.write(last);
    return next < pacedChunks;
  });
}

/** One event, and then nothing. */
function hold(socket: Socket, tail: readonly Buffer[]): void {
  socket.write(events[0] as Buffer);
  const release = (): void => tail.forEach((part) => socket.write(part));
  held.add(release);
  socket.once('close', () => held.delete(release));
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', 4096, resolve));
  return (server.address() as AddressInfo).port;
}

const isTls = certFile !== undefined && keyFile !== undefined;
const port = await listen(createServer({ noDelay: true }, serve));
const tlsPort = isTls
  ? await listen(
      createTlsServer({ cert: readFileSync(certFile), key: readFileSync(keyFile), noDelay: true }, serve),
    )
  : null;
process.on('message', () => {
  for (const release of held) release();
  held.clear();
});
process.on('disconnect', () => process.exit(0));
process.send?.({ port, tlsPort } satisfies StandInPorts);
