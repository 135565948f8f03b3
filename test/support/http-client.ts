import { once } from 'node:events';
import * as http from 'node:http';
import * as https from 'node:https';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';

/** An answer as it came over the wire. */
export interface Answered {
  readonly status: number;
  /** Name in lower case and value, as they came. */
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Buffer;
  /** Its framing says that it is all there. */
  readonly isWhole: boolean;
  /** The value of a header that stands there once; null where there is none. */
  header(name: string): string | null;
  // Shapes are what the tests are about: each asserts those that it reads.
  // eslint-disable-next-line typescript/no-explicit-any
  json(): any;
}

export interface Asked {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string | Buffer | object;
  readonly agent?: http.Agent;
  /** For https; certificates of our own kind are trusted by `ca`. */
  readonly tls?: ConnectionOptions;
  /** Told of the head as soon as it is there. */
  readonly onHead?: (answer: http.IncomingMessage) => void;
  readonly onData?: (chunk: Buffer) => void;
}

/** One request over a connection of its own, read to its end, however that comes. Rejects only where no head came. */
export async function ask(url: string, asked: Asked = {}): Promise<Answered> {
  const { body } = asked;
  const isObject = typeof body === 'object' && !Buffer.isBuffer(body);
  const bytes = body === undefined ? null : isObject ? JSON.stringify(body) : body;
  const request = (url.startsWith('https:') ? https : http).request(url, {
    ...asked.tls,
    method: asked.method ?? (body === undefined ? 'GET' : 'POST'),
    agent: asked.agent ?? false,
    headers: {
      ...(isObject ? { 'content-type': 'application/json' } : {}),
      ...(bytes === null ? {} : { 'content-length': String(Buffer.byteLength(bytes)) }),
      ...(asked.headers as http.OutgoingHttpHeaders),
    },
  });
  request.end(bytes ?? undefined);
  const [message] = (await once(request, 'response')) as [http.IncomingMessage];
  request.on('error', () => {});
  asked.onHead?.(message);
  const chunks: Buffer[] = [];
  message.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    asked.onData?.(chunk);
  });
  message.on('error', () => {});
  await new Promise<void>((resolve) => {
    message.once('close', resolve);
  });
  const headers: [string, string][] = [];
  for (let i = 0; i < message.rawHeaders.length; i += 2)
    headers.push([(message.rawHeaders[i] as string).toLowerCase(), message.rawHeaders[i + 1] as string]);
  return answered(message.statusCode ?? 0, headers, Buffer.concat(chunks), message.complete);
}

function answered(
  status: number,
  headers: readonly (readonly [string, string])[],
  body: Buffer,
  isWhole: boolean,
): Answered {
  return {
    status,
    headers,
    body,
    isWhole,
    header(name) {
      const found = headers.filter(([each]) => each === name);
      if (found.length > 1) throw new Error(`${name} stands ${found.length} times`);
      return found[0]?.[1] ?? null;
    },
    json: () => JSON.parse(body.toString()),
  };
}

/** A connection on which a test writes what no HTTP client would. */
export interface RawConnection {
  readonly socket: Socket;
  /** All that came so far. */
  text(): string;
  /** Resolves when the text matches; rejects if the connection ends before. */
  seen(pattern: RegExp): Promise<string>;
  /** Resolves with all that came when the other side has closed. */
  closed(): Promise<string>;
}

export async function rawConnection(
  origin: string,
  first: string | Buffer = '',
  tls: ConnectionOptions = {},
): Promise<RawConnection> {
  const { protocol, hostname, port } = new URL(origin);
  const place = { host: hostname, port: Number(port), noDelay: true };
  const socket = protocol === 'https:' ? connectTls({ ...tls, ...place }) : connect(place);
  let text = '';
  let isClosed = false;
  const waiting = new Set<() => void>();
  const wake = (): void => {
    for (const check of waiting) check();
  };
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    wake();
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    isClosed = true;
    wake();
  });
  await once(socket, protocol === 'https:' ? 'secureConnect' : 'connect');
  if (first.length > 0) socket.write(first);
  const until = (isThere: () => boolean): Promise<string> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        if (isThere()) resolve(text);
        else if (isClosed) reject(new Error(`closed after ${JSON.stringify(text)}`));
        else return;
        waiting.delete(check);
      };
      waiting.add(check);
      check();
    });
  return {
    socket,
    text: () => text,
    seen: (pattern) => until(() => pattern.test(text)),
    closed: () => until(() => isClosed),
  };
}

/** Writes raw bytes, reads until the gateway closes (the request should ask for that). */
export async function rawExchange(
  origin: string,
  bytes: string | Buffer,
  tls: ConnectionOptions = {},
): Promise<string> {
  const connection = await rawConnection(origin, bytes, tls);
  try {
    return await connection.closed();
  } finally {
    connection.socket.destroy();
  }
}
