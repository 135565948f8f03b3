import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Test } from 'tap';

/** One request as it came in. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  /** Flat name, value, …, in the sender's order and case. */
  readonly rawHeaders: readonly string[];
  readonly headers: http.IncomingHttpHeaders;
  /** The whole body; empty where the answer came early. */
  readonly body: Buffer;
  /** Which connection it came on, from 1. */
  readonly connection: number;
  /** Settles when the caller has gone before the answer was finished. */
  readonly gone: Promise<void>;
}

/** A part of an answer that is awaited before what follows is sent. */
export type Gate = Promise<unknown>;

export interface Answer {
  /** 200 */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  /** Nothing is sent before it. */
  readonly hold?: Gate;
  /** A whole body; an object is sent as JSON. */
  readonly body?: string | Buffer | object;
  /** A stream: text is sent as `data: …` events, text that ends with an empty line and Buffers as they are. */
  readonly events?: readonly (string | Buffer | Gate)[];
  /** Content-length to claim instead of the true one. */
  readonly contentLength?: number;
  /** Answers before the body has been read, and never reads it. */
  readonly isEarly?: boolean;
  /**
   * What comes after the last byte. `end` (default): a proper end. `truncate`: the connection is closed in order, but the answer
   * lacks its end. `reset`: RST. `stall`: nothing, until the caller goes or the test ends.
   */
  readonly ending?: 'end' | 'truncate' | 'reset' | 'stall';
}

/** Gives the answer, or writes it itself and returns nothing. */
export type Respond = (
  request: SeenRequest,
  answer: http.ServerResponse,
) => Answer | void | Promise<Answer | void>;

export interface UpstreamOptions {
  /** Serves https with a certificate for localhost, 127.0.0.1 and *.sallyport.test; `ca` signs it. `renewed`: the other one. */
  readonly tls?: boolean | 'renewed' | 'recipes';
  /** Every other credential, none, or a second one beside it: 401. */
  readonly key?: string;
  /** In the order of requests, the last one repeats; or a function. */
  readonly script?: readonly Answer[] | Respond;
  /** Name in the origin: 127.0.0.1 by default. */
  readonly host?: string;
  /** Takes requests that ask for another protocol; without it they are answered as others are. */
  readonly onUpgrade?: (message: http.IncomingMessage, socket: Socket, head: Buffer) => void;
  /** Idle connections are closed after this; 0 never (default). */
  readonly keepAliveMs?: number;
}

export interface Upstream {
  readonly origin: string;
  readonly port: number;
  /** Signs the certificate; hand it to createEgress({ ca }). */
  readonly ca: string;
  readonly requests: readonly SeenRequest[];
  /** Connections accepted so far. */
  readonly connections: number;
  readonly sockets: ReadonlySet<Socket>;
  /** Settles when n requests, counted from the start, have come in whole (early answers: their head). */
  received(n: number): Promise<void>;
  respond(script: readonly Answer[] | Respond): void;
  close(): Promise<void>;
}

const folder = new URL('tls/', import.meta.url);
export const testCa = readFileSync(new URL('ca.pem', folder), 'utf8');

const credentialHeaders = ['authorization', 'x-api-key', 'x-goog-api-key', 'api-key'] as const;

function isAccepted(headers: http.IncomingHttpHeaders, key: string): boolean {
  const sent = credentialHeaders.flatMap((name) => headers[name] ?? []);
  return sent.length === 1 && (sent[0] === key || sent[0] === `Bearer ${key}`);
}

const refusal: Answer = {
  status: 401,
  body: {
    error: { message: 'Incorrect API key provided.', type: 'invalid_request_error', code: 'invalid_api_key' },
  },
};

/** Sends one scripted answer. */
async function send(answer: Answer, to: http.ServerResponse): Promise<void> {
  await answer.hold;
  if (to.destroyed) return;
  const given = answer.body ?? '';
  const isObject = typeof given === 'object' && !Buffer.isBuffer(given);
  const body = isObject ? JSON.stringify(given) : given;
  const headers: Record<string, string | readonly string[]> = { ...answer.headers };
  if (answer.events !== undefined) headers['content-type'] ??= 'text/event-stream';
  else if (isObject) headers['content-type'] ??= 'application/json';
  if (answer.contentLength !== undefined) headers['content-length'] = String(answer.contentLength);
  else if (answer.events === undefined && answer.ending !== 'truncate')
    headers['content-length'] = String(Buffer.byteLength(body));
  to.writeHead(answer.status ?? 200, headers as http.OutgoingHttpHeaders);
  to.flushHeaders();
  let written: Promise<unknown> = Promise.resolve();
  const write = (part: string | Buffer): void => {
    written = new Promise((resolve) => {
      to.write(part, resolve);
    });
  };
  for (const event of answer.events ?? []) {
    if (event instanceof Promise) await event;
    else if (to.destroyed) return;
    else if (Buffer.isBuffer(event)) write(event);
    else write(event.endsWith('\n\n') ? event : `data: ${event}\n\n`);
  }
  if (body.length > 0) write(body);
  const { socket } = to;
  if (answer.ending === 'stall' || socket === null) return;
  // Let what has been written leave first: chunks wait in the answer for the next tick, and closing the socket throws them away.
  if (answer.ending === 'reset' || answer.ending === 'truncate') await written;
  if (answer.ending === 'reset') reset(socket);
  else if (answer.ending === 'truncate') socket.end();
  else to.end();
}

function reset(socket: Socket): void {
  // A TLS socket has no RST of its own: cut the TCP socket below it.
  const below = (socket as { _parent?: Socket })._parent;
  (below ?? socket).resetAndDestroy();
}

/**
 * A stand-in provider on a real socket, closed when the test ends. The script decides per request: what to answer, behind which
 * gates (promises, never sleeps), and how the answer breaks.
 */
export async function scriptUpstream(
  t: Pick<Test, 'teardown'>,
  options: UpstreamOptions | readonly Answer[] | Respond = {},
): Promise<Upstream> {
  const settings: UpstreamOptions =
    typeof options === 'function' || Array.isArray(options)
      ? { script: options as readonly Answer[] | Respond }
      : (options as UpstreamOptions);
  let script: readonly Answer[] | Respond = settings.script ?? [{ body: { ok: true } }];
  let scripted = 0;
  let connections = 0;
  const requests: SeenRequest[] = [];
  const sockets = new Set<Socket>();
  const numbers = new WeakMap<Socket, number>();
  const waiting: { n: number; done: () => void }[] = [];

  const onRequest = async (message: http.IncomingMessage, answer: http.ServerResponse): Promise<void> => {
    const planned =
      typeof script === 'function' ? null : (script[Math.min(scripted, script.length - 1)] ?? {});
    scripted += 1;
    const chunks: Buffer[] = [];
    if (planned?.isEarly !== true) {
      try {
        for await (const chunk of message) chunks.push(chunk as Buffer);
      } catch {
        return; // the caller went away in the middle of his body
      }
    }
    const gone = new Promise<void>((resolve) => {
      answer.once('close', () => {
        if (!answer.writableFinished) resolve();
      });
    });
    const seen: SeenRequest = {
      method: message.method ?? '',
      path: message.url ?? '',
      rawHeaders: message.rawHeaders,
      headers: message.headers,
      body: Buffer.concat(chunks),
      connection: numbers.get(message.socket) ?? 0,
      gone,
    };
    requests.push(seen);
    for (const waiter of waiting) if (requests.length >= waiter.n) waiter.done();
    if (settings.key !== undefined && !isAccepted(message.headers, settings.key))
      return send(refusal, answer);
    const given = planned ?? (await (script as Respond)(seen, answer));
    if (given !== undefined) await send(given, answer);
  };

  const handler = (message: http.IncomingMessage, answer: http.ServerResponse): void => {
    onRequest(message, answer).catch((error: unknown) => answer.destroy(error as Error));
  };
  const limits = { keepAliveTimeout: settings.keepAliveMs ?? 0, requestTimeout: 0, noDelay: true };
  const hasTls = settings.tls !== undefined && settings.tls !== false;
  const pair = typeof settings.tls === 'string' ? settings.tls : 'leaf';
  const server = hasTls
    ? https.createServer(
        {
          ...limits,
          cert: readFileSync(new URL(`${pair}.pem`, folder)),
          key: readFileSync(new URL(`${pair}.key`, folder)),
        },
        handler,
      )
    : http.createServer(limits, handler);
  server.on(hasTls ? 'secureConnection' : 'connection', (socket: Socket) => {
    connections += 1;
    numbers.set(socket, connections);
    sockets.add(socket);
    socket.on('error', () => {}); // resets are part of the play
    socket.once('close', () => sockets.delete(socket));
  });
  if (settings.onUpgrade !== undefined) server.on('upgrade', settings.onUpgrade);
  server.on('tlsClientError', () => {});
  server.on('clientError', (_error, socket) => socket.destroy());
  server.listen(0, settings.host === '::1' ? '::1' : '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;

  const close = async (): Promise<void> => {
    if (!server.listening) return;
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    server.closeAllConnections();
    await closed;
  };
  t.teardown(close);

  const name = settings.host === '::1' ? '[::1]' : (settings.host ?? '127.0.0.1');
  return Object.freeze({
    origin: `${hasTls ? 'https' : 'http'}://${name}:${port}`,
    port,
    ca: pair === 'leaf' ? testCa : readFileSync(new URL('renewed.pem', folder), 'utf8'),
    requests,
    get connections() {
      return connections;
    },
    sockets,
    received: (n: number) =>
      requests.length >= n
        ? Promise.resolve()
        : new Promise<void>((done) => {
            waiting.push({ n, done });
          }),
    respond(next: readonly Answer[] | Respond) {
      script = next;
      scripted = 0;
    },
    close,
  });
}
