import type { Egress, EgressControl, EgressError, EgressRequest } from '../egress/egress.ts';
import { errorTable, SallyportError, type ErrorCode } from '../errors.ts';
import type { Provider } from '../providers/provider.ts';
import type { PreparedKey } from '../vault/vault.ts';
import { credentialOf } from './credential.ts';
import type { Target } from './target.ts';

/** What came of a GET of our own, with nothing of any client in it. */
export interface OwnAnswer {
  /** The provider's, or null where none came. */
  readonly status: number | null;
  /** Up to the bound. Not to be told to anybody: providers echo parts of a key. */
  readonly body: Buffer;
  readonly isWhole: boolean;
  /** Why no status came. */
  readonly error: Error | null;
}

export interface OwnBounds {
  readonly maxBytes: number;
  /** For all of it; null: the other bounds are enough. */
  readonly wholeMs: number | null;
  readonly timeouts: EgressRequest['timeouts'];
  /** The answer is told to callers, and so searched for the key. */
  readonly isTold?: boolean;
  /** Ends it at once. */
  readonly signal?: AbortSignal;
}

/** Never rejects. `target` and `prepared` are of a use that is on record. */
export function answerTo(
  egress: Pick<Egress, 'dispatch'>,
  target: Target,
  prepared: PreparedKey,
  bounds: OwnBounds,
): Promise<OwnAnswer> {
  return new Promise((resolve) => {
    let status: number | null = null;
    let bytes = 0;
    let timer: NodeJS.Timeout | undefined;
    let control: EgressControl | null = null;
    const chunks: Buffer[] = [];
    const { signal, wholeMs, isTold = false } = bounds;
    const abort = (): void => control?.abort();
    const done = (isWhole: boolean, error: Error | null): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      resolve({ status, body: Buffer.concat(chunks), isWhole, error: status === null ? error : null });
    };
    try {
      signal?.throwIfAborted();
      if (target.key.auth === 'none') prepared.checkOrigin(target.origin);
      control = egress.dispatch(
        {
          origin: target.origin,
          reach: target.reach,
          method: 'GET',
          path: target.path,
          headers: ['accept', 'application/json', ...(isTold ? ['accept-encoding', 'identity'] : [])],
          body: null,
          credential: credentialOf(target, prepared),
          searchFrom: isTold ? 0 : null,
          timeouts: bounds.timeouts,
        },
        {
          onStart: () => {},
          onHeaders: (given) => {
            status = given;
          },
          onData: (chunk) => {
            bytes += chunk.length;
            if (bytes <= bounds.maxBytes) chunks.push(chunk);
            else abort();
          },
          onEnd: () => done(true, null),
          onError: (error: EgressError) => done(false, error),
        },
      );
      if (wholeMs !== null) timer = setTimeout(abort, wholeMs);
      signal?.addEventListener('abort', abort);
    } catch (error) {
      done(false, error as Error);
    }
  });
}

/** What an answer says of the key and its provider; null: that the key is taken. */
export function codeOf(provider: Provider, answer: OwnAnswer): ErrorCode | null {
  if (answer.error instanceof SallyportError) return answer.error.code;
  const code = (answer.error as EgressError | null)?.code;
  if (code !== undefined) return code in errorTable ? (code as ErrorCode) : 'UPSTREAM_ERROR';
  if (answer.status === null) return 'UPSTREAM_ERROR';
  // A restricted key may not list models, and does its work all the same.
  if (provider.isScopeRefusal(answer.status, answer.body)) return null;
  // A custom origin may have no list of models, and forbid what it does not have.
  if (answer.status === 403 && provider.name === 'custom') return 'UPSTREAM_REJECTED';
  if (answer.status === 401 || answer.status === 403 || provider.isKeyRefusal(answer.status, answer.body))
    return 'UPSTREAM_AUTH';
  if (answer.status === 429) return 'UPSTREAM_RATE_LIMITED';
  // A custom origin may have no list of models: an answer of its own shows that the key was not refused.
  if (answer.status >= 500) return 'UPSTREAM_ERROR';
  if (answer.status >= 400 && provider.name !== 'custom') return 'UPSTREAM_REJECTED';
  return null;
}
