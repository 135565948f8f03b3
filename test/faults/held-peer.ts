import { once } from 'node:events';
import * as http from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { chat, jsonChat, lastChunk } from './fault.ts';

/*
 * A provider that holds its streams, and the clients that read them, in a process of its own: its sockets are not the gateway's.
 */
export type Order =
  | { readonly do: 'open'; readonly origin: string; readonly token: string; readonly streams: number }
  | { readonly do: 'call'; readonly origin: string; readonly token: string; readonly calls: number }
  | { readonly do: 'finish' };

export type Word =
  | { readonly said: 'listening'; readonly origin: string }
  /** All streams have had their first event. */
  | { readonly said: 'open'; readonly refused: readonly string[] }
  /** ms of each small call, and what was wrong with those that were not answered. */
  | { readonly said: 'called'; readonly ms: readonly number[]; readonly refused: readonly string[] }
  | { readonly said: 'finished'; readonly whole: number };

const held = new Set<http.ServerResponse>();
const readers: { readonly socket: Socket; text: string; readonly closed: Promise<unknown> }[] = [];

const provider = http.createServer({ keepAliveTimeout: 0 }, (request, response) => {
  let body = '';
  request.setEncoding('utf8').on('data', (text: string) => {
    body += text;
  });
  request.on('end', () => {
    if (!body.includes('"stream":true')) {
      const headers = { 'content-type': 'application/json', 'content-length': jsonChat.length };
      response.writeHead(200, headers).end(jsonChat);
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(chat.one);
    held.add(response);
  });
});

function requestFor(token: string, isStream: boolean, close: boolean): string {
  const body = JSON.stringify({ model: 'gpt-4o', stream: isStream, messages: [] });
  return `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n${close ? 'connection: close\r\n' : ''}content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
}

/** Opens one stream. @returns null, or what came in place of its first event */
async function open(origin: URL, token: string): Promise<string | null> {
  const socket = connect({ host: origin.hostname, port: Number(origin.port) });
  const closed = new Promise((resolve) => void socket.once('close', resolve));
  socket.on('error', () => {});
  const reader = { socket, text: '', closed };
  readers.push(reader);
  socket.write(requestFor(token, true, true));
  return new Promise((resolve) => {
    socket.on('data', (data: Buffer) => {
      reader.text += data.toString('latin1');
      if (reader.text.includes('Hello there')) resolve(null);
      else if (!reader.text.startsWith('HTTP/1.1 200')) resolve(reader.text.slice(0, 500));
    });
    socket.once('close', () => resolve(`closed after ${reader.text.slice(0, 500)}`));
  });
}

/** As many at once as a provider’s backlog takes. */
async function openAll(origin: URL, token: string, streams: number): Promise<string[]> {
  const refused: string[] = [];
  const rest = Array.from({ length: streams }).values();
  const opener = async (): Promise<void> => {
    for (const _each of rest) {
      const answer = await open(origin, token);
      if (answer !== null) refused.push(answer);
    }
  };
  await Promise.all(Array.from({ length: 32 }, opener));
  return refused;
}

async function callOften(origin: URL, token: string, calls: number) {
  const socket = connect({ host: origin.hostname, port: Number(origin.port), noDelay: true });
  await once(socket, 'connect');
  const ms: number[] = [];
  const refused: string[] = [];
  const request = requestFor(token, false, false);
  for (let n = 0; n < calls; n += 1) {
    const at = performance.now();
    socket.write(request);
    let text = '';
    while (!text.endsWith(jsonChat)) {
      const [data] = (await once(socket, 'data')) as [Buffer];
      text += data.toString('latin1');
      if (!text.startsWith('HTTP/1.1 200')) {
        refused.push(text.slice(0, 500));
        break;
      }
    }
    ms.push(performance.now() - at);
  }
  socket.destroy();
  return { ms, refused };
}

async function finish(): Promise<number> {
  for (const response of held) response.end(chat.two + chat.finish + chat.done);
  await Promise.all(readers.map(({ closed }) => closed));
  return readers.filter(({ text }) => text.includes('[DONE]') && text.endsWith(lastChunk)).length;
}

const say = (word: Word): void => void process.send?.(word);

async function obey(order: Order): Promise<void> {
  if (order.do === 'open')
    say({ said: 'open', refused: await openAll(new URL(order.origin), order.token, order.streams) });
  else if (order.do === 'call')
    say({ said: 'called', ...(await callOften(new URL(order.origin), order.token, order.calls)) });
  else say({ said: 'finished', whole: await finish() });
}

if (process.send !== undefined) {
  process.on('message', (order: Order) => void obey(order));
  provider.listen({ port: 0, host: '127.0.0.1', backlog: 1024 }, () => {
    say({ said: 'listening', origin: `http://127.0.0.1:${(provider.address() as AddressInfo).port}` });
  });
}
