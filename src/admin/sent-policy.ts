import { type CallTimeouts, defaultPolicy, type TokenPolicy } from '../token-policy.ts';

/** A policy as it is sent: what is left out is as for every token, or as it was. */
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

/**
 * The policy whole. Its members' bounds are the interface's.
 *
 * @param base what holds where nothing is said: of a new token what holds for all, of a changed one what it had.
 */
export function readSentPolicy(sent: SentPolicy, base: TokenPolicy = defaultPolicy): TokenPolicy {
  const { timeouts = {}, onDisconnect = base.onDisconnect } = sent;
  const timeout = (name: keyof CallTimeouts): number | null => {
    const ms = timeouts[name];
    return ms === undefined ? base.timeouts[name] : ms;
  };
  return {
    fallbackModels: sent.fallbackModels ?? base.fallbackModels,
    maxAttempts: sent.maxAttempts ?? base.maxAttempts,
    retryStale: sent.retryStale ?? base.retryStale,
    timeouts: {
      connectMs: timeout('connectMs'),
      firstByteMs: timeout('firstByteMs'),
      betweenBytesMs: timeout('betweenBytesMs'),
      totalMs: timeout('totalMs'),
      writeIdleMs: timeout('writeIdleMs'),
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
