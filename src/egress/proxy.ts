import { connect as connectTcp, isIP, isIPv6, type LookupFunction, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { EgressError } from './egress-error.ts';

export interface ProxyOptions {
  /** As EGRESS_PROXY has it: http or https, perhaps with user and password. */
  readonly url: string;
  /** Trusted instead of the built-in roots, for a proxy by https. */
  readonly ca: string | undefined;
  readonly lookup: LookupFunction | undefined;
  /** For the proxy's connection and answer together. */
  readonly withinMs?: number;
}

/** A connection to `host:port` that the proxy has opened and takes no further part in, or an error; once. Returns its socket, also before. */
export type Tunnel = (
  host: string,
  port: number,
  done: (...result: [null, Socket] | [EgressError, null]) => void,
) => Socket;

const answerWithinMs = 5000;
/** Of the answer's head; what comes behind it in the same breath is no provider's, who speaks second in TLS. */
const maxHeadBytes = 16_384;
const headEnd = Buffer.from('\r\n\r\n');

/**
 * The operator's CONNECT proxy (RFC 9110, 9.3.6). It sees names, ports and times; the TLS inside is between us and the provider, and is
 * verified as without it. Nothing of a call is written before that has begun: no key, and no placeholder.
 */
export function createTunnel({ url, ca, lookup, withinMs = answerWithinMs }: ProxyOptions): Tunnel {
  const { protocol, hostname, port, username, password } = new URL(url);
  const isTls = protocol === 'https:';
  const proxyHost = bare(hostname);
  const place = {
    host: proxyHost,
    port: port === '' ? (isTls ? 443 : 80) : Number(port),
    noDelay: true,
    ...(lookup === undefined ? {} : { lookup }),
  };
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  const authorization =
    credentials === ':'
      ? ''
      : `proxy-authorization: Basic ${Buffer.from(credentials).toString('base64')}\r\n`;

  const connect = (onConnect: () => void): Socket => {
    if (!isTls) return connectTcp(place, onConnect);
    const servername = isIP(proxyHost) === 0 ? { servername: proxyHost } : {};
    const trust = {
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2' as const,
      ...(ca === undefined ? {} : { ca }),
    };
    return connectTls({ ...place, ...servername, ...trust }, onConnect);
  };

  return function tunnel(host, toPort, done) {
    const authority = `${isIPv6(host) ? `[${host}]` : host}:${toPort}`;
    let head = Buffer.alloc(0);
    const socket = connect(() => {
      socket.write(`CONNECT ${authority} HTTP/1.1\r\nhost: ${authority}\r\n${authorization}\r\n`);
    });
    const timer = setTimeout(() => fail('did not answer in time'), withinMs);

    function stop(): void {
      clearTimeout(timer);
      socket.off('readable', onReadable).off('close', onEnd).off('end', onEnd).off('error', onError);
    }
    function fail(what: string, cause?: unknown): void {
      stop();
      socket.on('error', () => {}).destroy();
      done(refusal(what, cause), null);
    }
    function onError(error: NodeJS.ErrnoException): void {
      fail(`cannot be used (${error.code ?? 'no connection'})`, error);
    }
    function onEnd(): void {
      fail('closed the connection');
    }
    function onReadable(): void {
      for (let chunk: Buffer | null; (chunk = socket.read() as Buffer | null) !== null;) {
        // The end may lie on the border of two chunks.
        const from = Math.max(0, head.length - headEnd.length);
        head = Buffer.concat([head, chunk]);
        const end = head.indexOf(headEnd, from);
        if (end >= 0) return judge(end + headEnd.length);
        if (head.length > maxHeadBytes) return fail('answered more than 16 KiB');
      }
    }
    function judge(length: number): void {
      const status = Number(/^HTTP\/1\.[01] (\d{3})(?: |\r)/.exec(head.toString('latin1', 0, 32))?.[1] ?? 0);
      if (length > maxHeadBytes) return fail('answered more than 16 KiB');
      if (status === 407) return fail('wants other credentials (407)');
      if (status === 0) return fail('does not speak HTTP');
      if (status < 200 || status > 299) return fail(`refused the connection (${status})`);
      if (head.length > length) return fail('said more than that the connection is open');
      stop();
      done(null, socket);
    }
    return socket.on('readable', onReadable).on('close', onEnd).on('end', onEnd).on('error', onError);
  };
}

/** Says nothing of where the proxy is: callers read it, too. */
function refusal(what: string, cause: unknown): EgressError {
  const fault = `the operator’s proxy (EGRESS_PROXY) ${what}`;
  return new EgressError(
    'UPSTREAM_UNREACHABLE',
    `The provider cannot be reached: ${fault}.`,
    { reachedUpstream: false, stale: false, fault },
    cause,
  );
}

function bare(hostname: string): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
}
