import { secretBuffer, secretCopy, wipe } from '../secret.ts';
import { EgressError } from './egress-error.ts';
import type { Egress } from './egress.ts';
import type { EgressControl, Reach } from './request.ts';

/** One small request and its whole answer, for services that the operator named: key services and collectors, not providers. */
export interface ExchangeRequest {
  /** https, or http on loopback unless plain http is allowed. */
  readonly origin: string;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** Flat name, value, …; `authorization` has a member of its own. */
  readonly headers: readonly string[];
  /** Stays the caller's to wipe. */
  readonly body: Buffer | null;
  /** Scheme with the blank behind it, and credentials: printable ASCII without blanks, up to 4096. */
  readonly authorization?: { readonly scheme: string; readonly credentials: string };
}

export interface ExchangeAnswer {
  readonly status: number;
  /** Up to 64 KiB, in memory of its own, the caller's to wipe. */
  readonly body: Buffer;
}

/** @throws {EgressError} no answer, none in time, or one that is too long. */
export type Exchange = (request: ExchangeRequest) => Promise<ExchangeAnswer>;

const maxBodyBytes = 65_536;
const timeouts = { connectMs: 3000, headersMs: 5000, bodyMs: 5000 } as const;
/** Kept connections that may turn out to be dead, one after the other. */
const maxStale = 4;
/** For all of it: an answer that drips keeps within the others. */
const wholeMs = 10_000;

/**
 * No redirects, no proxies, TLS as egress has it.
 *
 * @param allowsPlain http anywhere, for what carries no secret: a collector in a private network.
 * @param reach `public` for addresses that the operator named without having allowed private ones for them.
 */
export function createExchange(
  { dispatch }: Pick<Egress, 'dispatch'>,
  {
    allowsPlain = false,
    reach = 'operator',
  }: { readonly allowsPlain?: boolean; readonly reach?: Reach } = {},
): Exchange {
  return async function exchange(request) {
    const { protocol, hostname } = new URL(request.origin);
    if (protocol !== 'https:' && !allowsPlain && !isLoopbackName(hostname))
      throw new EgressError('EGRESS_REFUSED', 'A key service is reached by https, or on loopback.');
    for (let left = maxStale; ; left -= 1) {
      try {
        return await once(request);
      } catch (error) {
        // A kept connection died before it answered anything: the one failure that says nothing of the service. Several may have.
        if (!(error instanceof EgressError && error.stale) || left === 0) throw error;
      }
    }
  };

  async function once({ origin, method, path, headers, body, authorization }: ExchangeRequest) {
    const { promise, resolve, reject } = Promise.withResolvers<ExchangeAnswer>();
    const chunks: Buffer[] = [];
    let control: EgressControl | null = null;
    let status = 0;
    let bytes = 0;
    const timer = setTimeout(() => {
      reject(new EgressError('UPSTREAM_IDLE_TIMEOUT', 'The service did not answer in time.'));
      control?.abort();
    }, wholeMs);
    dispatch(
      {
        origin,
        reach,
        method,
        path,
        headers: [...headers, ...(body === null ? [] : ['content-length', String(body.length)])],
        body,
        credential: authorization === undefined ? null : credentialOf(authorization),
        searchFrom: null,
        timeouts,
      },
      {
        onStart(given) {
          control = given;
        },
        onHeaders(code) {
          status = code;
        },
        onData(chunk) {
          bytes += chunk.length;
          if (bytes > maxBodyBytes) {
            reject(new EgressError('UPSTREAM_ERROR', 'The service answered more than 64 KiB.'));
            control?.abort();
            return;
          }
          chunks.push(copyAndWipe(chunk));
        },
        onEnd() {
          resolve({ status, body: joinAndWipe(chunks, bytes) });
        },
        onError: reject,
      },
    );
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      wipe(...chunks);
    }
  }
}

/** A host as URL writes it. */
export function isLoopbackName(hostname: string): boolean {
  return /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/.test(hostname);
}

/** What came in it may be a secret, and the chunk is a view of a read with all that came beside it: the copy is ours to wipe, later. */
function copyAndWipe(chunk: Buffer): Buffer {
  const copy = secretCopy(chunk);
  wipe(chunk);
  return copy;
}

function joinAndWipe(chunks: readonly Buffer[], bytes: number): Buffer {
  const whole = secretBuffer(bytes);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  wipe(...chunks);
  return whole;
}

function credentialOf({ scheme, credentials }: { readonly scheme: string; readonly credentials: string }) {
  return {
    header: 'authorization',
    prefix: scheme,
    maxBytes: credentials.length,
    openInto: (into: Buffer, offset: number): number => into.write(credentials, offset, 'latin1'),
  };
}
