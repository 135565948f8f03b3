import { type IncomingMessage, type RequestOptions, request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { basename, dirname, join } from 'node:path';
import type { Config } from '../config.ts';
import { SallyportError } from '../errors.ts';
import type { Offline } from './deps.ts';

/** A way to `/api`, whether a network is in between or not. */
export interface Transport extends Offline {
  /** A GET whose answer is read as it comes. Null: no gateway runs. */
  readonly stream: ((path: string, headers: Readonly<Record<string, string>>) => Promise<Streamed>) | null;
}

export interface Streamed {
  readonly status: number;
  readonly body: AsyncIterable<Buffer>;
}

const timeoutMs = 120_000;
const maxAnswerBytes = 64 * 1024 * 1024;
/** Bytes of sun_path without its NUL: 108 on Linux (unix(7)), 104 on macOS. */
export const longestSocketPath = process.platform === 'darwin' ? 103 : 107;

/** Where a running gateway serves `/api` to its operator, mode 0600. */
export function adminSocketPath(dataDir: string): string {
  return join(dataDir, 'run', 'admin.sock');
}

/**
 * `--url` or SALLYPORT_URL with the admin token; else the socket of a gateway that runs on the data directory; else the data
 * directory itself, opened in this process.
 *
 * @throws {SallyportError} CONFIG_INVALID (no admin token), TLS_REQUIRED, GATEWAY_UNREACHABLE.
 */
export async function openTransport(options: {
  readonly url: string | null;
  readonly config: Pick<Config, 'adminToken' | 'allowPlainHttp' | 'dataDir'>;
  readonly openOffline: () => Promise<Offline>;
}): Promise<Transport> {
  const { url, config } = options;
  if (url !== null) return overUrl(url, config);
  const socketPath = adminSocketPath(config.dataDir);
  return (await isListening(socketPath))
    ? overSocket(socketPath)
    : { ...(await options.openOffline()), stream: null };
}

function overUrl(
  text: string,
  { adminToken, allowPlainHttp }: Pick<Config, 'adminToken' | 'allowPlainHttp'>,
): Transport {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw new SallyportError('REQUEST_INVALID', '--url must be a URL like https://gateway.example.', {
      fix: 'Give the gateway’s base URL, without /api.',
    });
  }
  const url = new URL(text);
  if (adminToken === null) {
    throw new SallyportError('CONFIG_INVALID', 'A gateway named by URL needs an admin token.', {
      fix: 'Set SALLYPORT_ADMIN_TOKEN (spa_…) or SALLYPORT_ADMIN_TOKEN_FILE.',
    });
  }
  const isLocal = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname);
  if (url.protocol === 'http:' && !isLocal && !allowPlainHttp) {
    throw new SallyportError('TLS_REQUIRED', 'The admin token would travel in clear.', {
      fix: 'Use the https URL, or set ALLOW_PLAIN_HTTP=true.',
    });
  }
  const base = url.pathname.replace(/\/+$/, '');
  const options = {
    hostname: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port,
    agent: false as const,
    headers: { authorization: `Bearer ${adminToken}` },
  };
  const request = url.protocol === 'https:' ? httpsRequest : httpRequest;
  return transport((path) => ({ ...options, path: base + path }), request, url.origin);
}

function overSocket(socketPath: string): Transport {
  return transport(
    (path) => ({
      // Without an agent, which would connect in its own way.
      createConnection: () => connectSocket(socketPath),
      path,
      headers: { host: 'localhost' },
    }),
    httpRequest,
    'the gateway here',
  );
}

function transport(
  place: (
    path: string,
  ) => Omit<RequestOptions, 'headers'> & { readonly headers: Readonly<Record<string, string>> },
  request: typeof httpRequest,
  name: string,
): Transport {
  async function send(
    method: string,
    path: string,
    body: Buffer | null,
    more: Readonly<Record<string, string>>,
    signal: AbortSignal | null,
  ): Promise<IncomingMessage> {
    const { headers, ...target } = place(path);
    const content =
      body === null ? {} : { 'content-type': 'application/json', 'content-length': String(body.length) };
    const outgoing = request({
      ...target,
      method,
      rejectUnauthorized: true,
      headers: { accept: 'application/json', ...headers, ...content, ...more },
      ...(signal === null ? {} : { signal }),
    } as RequestOptions);
    const answered = Promise.withResolvers<IncomingMessage>();
    outgoing.once('response', answered.resolve).once('error', answered.reject);
    outgoing.end(body ?? undefined);
    return answered.promise;
  }

  return Object.freeze<Transport>({
    async request(method, path, body, more = {}) {
      try {
        const response = await send(method, path, body, more, AbortSignal.timeout(timeoutMs));
        return { status: response.statusCode ?? 0, body: await readAll(response) };
      } catch (error) {
        throw unreachable(name, error);
      }
    },
    async stream(path, more) {
      try {
        const response = await send('GET', path, null, more, null);
        return { status: response.statusCode ?? 0, body: response as AsyncIterable<Buffer> };
      } catch (error) {
        throw unreachable(name, error);
      }
    },
    close: () => Promise.resolve(),
  });
}

export async function readAll(response: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    bytes += chunk.length;
    if (bytes > maxAnswerBytes) throw new Error('the answer is larger than 64 MiB');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** False: nobody is there, so the data directory may be opened. A socket that we may not use is not "nobody". */
export function isListening(socketPath: string): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  let socket: ReturnType<typeof connectSocket>;
  try {
    socket = connectSocket(socketPath);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Promise.resolve(false);
    throw error;
  }
  socket.once('connect', () => {
    socket.destroy();
    resolve(true);
  });
  socket.once('error', (error: NodeJS.ErrnoException) => {
    const isNobody = ['ENOENT', 'ECONNREFUSED', 'ENOTDIR', 'ENOTSOCK'].includes(error.code ?? '');
    if (isNobody) resolve(false);
    else reject(unreachable('the gateway here', error));
  });
  return promise;
}

/** A path too long for an address is reached from its own folder: connect(2) is made before this returns. */
function connectSocket(socketPath: string) {
  if (Buffer.byteLength(socketPath) <= longestSocketPath) return connect(socketPath);
  const from = process.cwd();
  process.chdir(dirname(socketPath));
  try {
    return connect(basename(socketPath));
  } finally {
    process.chdir(from);
  }
}

function unreachable(name: string, error: unknown): SallyportError {
  const { code, message } =
    error instanceof Error
      ? (error as NodeJS.ErrnoException)
      : { code: undefined, message: 'no reason given' };
  const fix =
    code === 'EACCES' || code === 'EPERM'
      ? 'Run this as the user that the gateway runs as.'
      : 'Start the gateway with npm start, or check --url and SALLYPORT_URL.';
  return new SallyportError('GATEWAY_UNREACHABLE', `${name} cannot be reached: ${code ?? message}.`, {
    fix,
    cause: error,
  });
}
