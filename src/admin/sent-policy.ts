import { type CallTimeouts, defaultPolicy, type TokenPolicy } from '../token-policy.ts';

/** A policy as it is sent: what is left out is as for every token. */
export interface SentPolicy {
  readonly fallbackModels?: readonly string[] | undefined;
  readonly maxAttempts?: number | undefined;
  readonly retryStale?: boolean | undefined;
  readonly timeouts?: { readonly [Name in keyof CallTimeouts]?: number | null | undefined } | undefined;
  readonly onDisconnect?:
    | { readonly type: 'abort' }
    | {
        readonly type: 'drain';
        readonly maxSeconds?: number | undefined;
        readonly maxBytes?: number | undefined;
      }
    | undefined;
}

/** Bounds of a drain that names none: a long answer of a slow model, and more text than any has written. */
const usualDrain = { maxSeconds: 60, maxBytes: 10_000_000 } as const;

/** The policy whole. Its members' bounds are the interface's. */
export function readSentPolicy(sent: SentPolicy): TokenPolicy {
  const { timeouts = {}, onDisconnect = defaultPolicy.onDisconnect } = sent;
  return {
    fallbackModels: sent.fallbackModels ?? defaultPolicy.fallbackModels,
    maxAttempts: sent.maxAttempts ?? defaultPolicy.maxAttempts,
    retryStale: sent.retryStale ?? defaultPolicy.retryStale,
    timeouts: {
      connectMs: timeouts.connectMs ?? null,
      firstByteMs: timeouts.firstByteMs ?? null,
      betweenBytesMs: timeouts.betweenBytesMs ?? null,
      totalMs: timeouts.totalMs ?? null,
      writeIdleMs: timeouts.writeIdleMs ?? null,
    },
    onDisconnect:
      onDisconnect.type === 'abort'
        ? { type: 'abort' }
        : {
            type: 'drain',
            maxSeconds: onDisconnect.maxSeconds ?? usualDrain.maxSeconds,
            maxBytes: onDisconnect.maxBytes ?? usualDrain.maxBytes,
          },
  };
}
