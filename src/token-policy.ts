/** ms; each null: what holds for the provider. 0: no bound. */
export interface CallTimeouts {
  /** Name resolution, TCP and TLS. */
  readonly connectMs: number | null;
  /** From the request's last byte to the answer's head. */
  readonly firstByteMs: number | null;
  /** Between two reads of the answer's body. */
  readonly betweenBytesMs: number | null;
  /** The whole call, its attempts together. */
  readonly totalMs: number | null;
  /** How long a client may take nothing of what waits for it. */
  readonly writeIdleMs: number | null;
}

/** What becomes of the upstream when the client leaves: ended at once, or read on for its usage, within bounds. */
export type OnDisconnect =
  | { readonly type: 'abort' }
  | { readonly type: 'drain'; readonly maxSeconds: number; readonly maxBytes: number };

/** How the calls of one token are carried. */
export interface TokenPolicy {
  /** Tried in order when every key of the model asked for has failed in a way that may be repeated; as on /v1: `provider/model`, an alias or a bare name. */
  readonly fallbackModels: readonly string[];
  /** Of one call, 1 to 10, over all its targets. */
  readonly maxAttempts: number;
  /** May a request be sent again when a connection that had served before died before any byte of the answer? A charge is unlikely, but possible. */
  readonly retryStale: boolean;
  readonly timeouts: CallTimeouts;
  readonly onDisconnect: OnDisconnect;
}

export const defaultPolicy: TokenPolicy = Object.freeze({
  fallbackModels: Object.freeze([]),
  maxAttempts: 3,
  retryStale: true,
  timeouts: Object.freeze({
    connectMs: null,
    firstByteMs: null,
    betweenBytesMs: null,
    totalMs: null,
    writeIdleMs: null,
  }),
  onDisconnect: Object.freeze({ type: 'abort' }),
});

/** The form that a token's row keeps, with members in one order; null where nothing differs from the default. */
export function policyText(policy: TokenPolicy): string | null {
  const { fallbackModels, maxAttempts, retryStale, timeouts, onDisconnect } = policy;
  const { connectMs, firstByteMs, betweenBytesMs, totalMs, writeIdleMs } = timeouts;
  const text = JSON.stringify({
    fallbackModels,
    maxAttempts,
    retryStale,
    timeouts: { connectMs, firstByteMs, betweenBytesMs, totalMs, writeIdleMs },
    onDisconnect,
  });
  return text === JSON.stringify(defaultPolicy) ? null : text;
}

/** Of a row whose MAC was checked, so that what stands there is what `policyText` wrote. */
export function readPolicy(text: string | null): TokenPolicy {
  if (text === null) return defaultPolicy;
  const stored = JSON.parse(text) as Partial<TokenPolicy>;
  return { ...defaultPolicy, ...stored, timeouts: { ...defaultPolicy.timeouts, ...stored.timeouts } };
}
