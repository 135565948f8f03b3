import { SallyportError } from '../../src/errors.ts';
import type {
  Credential,
  Egress,
  EgressControl,
  EgressError,
  EgressRequest,
} from '../../src/egress/egress.ts';

export const testKey = 'sk-proj-T3stK3yOfNobody0123456789abcdefghijklmnop';

/** A credential that writes `secret` where the real one opens a record; counts how often it was asked. */
export interface TestCredential extends Credential {
  readonly places: readonly { origin: string; header: string }[];
  readonly opened: number;
  readonly failures: readonly unknown[];
  /** The memory that was lent, to see that it was wiped. */
  readonly lent: readonly Buffer[];
}

export function credentialOf(
  secret: string | Buffer = testKey,
  options: {
    header?: string;
    prefix?: string;
    origins?: readonly string[];
    maxBytes?: number;
    throws?: Error;
  } = {},
): TestCredential {
  const bytes = typeof secret === 'string' ? Buffer.from(secret, 'latin1') : secret;
  const places: { origin: string; header: string }[] = [];
  const failures: unknown[] = [];
  const lent: Buffer[] = [];
  let opened = 0;
  return {
    header: options.header ?? 'authorization',
    prefix: options.prefix ?? 'Bearer ',
    maxBytes: options.maxBytes ?? Math.max(bytes.length, 1),
    openInto(into, offset, place) {
      places.push(place);
      lent.push(into);
      into.set(bytes, offset);
      if (options.throws !== undefined) throw options.throws;
      if (options.origins?.includes(place.origin) === false)
        throw new SallyportError('KEY_ORIGIN', `The key is not for ${place.origin}.`);
      return bytes.length;
    },
    onOpened() {
      opened += 1;
    },
    onFailed(error) {
      failures.push(error);
    },
    places,
    failures,
    lent,
    get opened() {
      return opened;
    },
  };
}

export interface Outcome {
  readonly status: number;
  readonly headers: readonly [string, string][];
  readonly body: Buffer;
  readonly error: EgressError | null;
}

export interface RunningCall {
  readonly control: EgressControl;
  readonly outcome: Promise<Outcome>;
  /** Settles at the answer's head. */
  readonly started: Promise<number>;
  readonly chunks: readonly Buffer[];
  /** Settles when n bytes of the body have come. */
  bytes(n: number): Promise<void>;
}

export type Ask = Partial<EgressRequest> & Pick<EgressRequest, 'origin'>;

/** Runs one call; the outcome settles exactly once, and a second end throws in the event loop. */
export function startCall(egress: Egress, ask: Ask): RunningCall {
  const chunks: Buffer[] = [];
  const waiting: { n: number; done: () => void }[] = [];
  let seen = 0;
  let status = 0;
  let headers: readonly [string, string][] = [];
  let isOver = false;
  const settled = Promise.withResolvers<Outcome>();
  const started = Promise.withResolvers<number>();
  const end = (error: EgressError | null): void => {
    if (isOver) throw new Error('the call ended twice');
    isOver = true;
    settled.resolve({ status, headers, body: Buffer.concat(chunks), error });
  };
  const control = egress.dispatch(
    {
      reach: 'operator',
      method: 'POST',
      path: '/v1/chat/completions',
      headers: [],
      body: null,
      credential: null,
      searchFrom: null,
      timeouts: { connectMs: 5000, headersMs: 10_000, bodyMs: 10_000 },
      ...ask,
    },
    {
      onStart() {},
      onHeaders(code, list) {
        status = code;
        headers = list;
        started.resolve(code);
      },
      onData(chunk) {
        if (isOver) throw new Error('data after the end');
        chunks.push(chunk);
        seen += chunk.length;
        for (const waiter of waiting) if (seen >= waiter.n) waiter.done();
      },
      onEnd: () => end(null),
      onError: end,
    },
  );
  return {
    control,
    outcome: settled.promise,
    started: started.promise,
    chunks,
    bytes: (n) => (seen >= n ? Promise.resolve() : new Promise((done) => waiting.push({ n, done }))),
  };
}

export function call(egress: Egress, ask: Ask): Promise<Outcome> {
  return startCall(egress, ask).outcome;
}
