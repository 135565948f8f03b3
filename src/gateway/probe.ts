import type { Egress } from '../egress/egress.ts';
import { errorTable, type ErrorCode } from '../errors.ts';
import { newId } from '../ids.ts';
import type { Journal } from '../journal/journal.ts';
import type { PriceBook } from '../providers/price.ts';
import type { Provider } from '../providers/provider.ts';
import type { Ends } from './ends.ts';
import { answerTo, codeOf } from './own-answer.ts';
import type { KeySnapshot } from './snapshot.ts';
import type { Target } from './target.ts';
import { beginFields, endFields, identityOf } from './use-record.ts';

export interface ProbeDeps {
  readonly journal: Pick<Journal, 'append'>;
  readonly ends: Pick<Ends, 'write'>;
  readonly egress: Pick<Egress, 'dispatch'>;
  readonly prices: Pick<PriceBook, 'version'>;
  readonly originOf: (provider: string) => string;
  readonly isOperatorSet: (origin: string) => boolean;
  readonly now: () => number;
  /** The gateway stops: what is under way ends. */
  readonly signal: AbortSignal;
}

export interface ProbeResult {
  readonly ok: boolean;
  /** The provider's, or null where none came. */
  readonly status: number | null;
  readonly code: ErrorCode | null;
  readonly ms: number;
  readonly message: string | null;
}

const timeouts = { connectMs: 5_000, headersMs: 15_000, bodyMs: 15_000 } as const;
const maxBytes = 64 * 1024;
const wholeMs = 20_000;

/**
 * One cheap authenticated request of our own that shows whether a provider takes a key. It is a use like any other: recorded before the
 * key is opened, through the same injector. The provider's body is never told: providers echo parts of a key.
 */
export function createProbe({
  journal,
  ends,
  egress,
  prices,
  originOf,
  isOperatorSet,
  now,
  signal,
}: ProbeDeps) {
  return async function probe(
    provider: Provider,
    key: KeySnapshot,
    caller: { readonly workspaceId: string; readonly userId: string },
    seal: Uint8Array | null,
  ): Promise<ProbeResult> {
    const origin = provider.name === 'custom' ? (key.origins[0] as string) : originOf(provider.name);
    const isOperator = provider.name === 'custom' ? key.isOperatorOrigin : isOperatorSet(origin);
    const path =
      provider.name === 'custom' ? `${key.basePath === '/' ? '' : key.basePath}/models` : provider.probe.path;
    const target: Target = {
      provider,
      providerName: provider.name === 'custom' ? key.name : provider.name,
      key,
      origin,
      reach: isOperator ? 'operator' : 'public',
      path,
      operation: 'key.test',
      model: null,
      modelAt: 0,
      upstreamModel: null,
    };
    const prepared = await key.prepare(seal);
    try {
      const identity = identityOf(
        newId('call'),
        { ...caller, tokenId: null },
        target,
        key.fingerprint,
        false,
      );
      const startedAtMs = now();
      const begin = await journal.append('use.begin', beginFields(identity, target, 1, startedAtMs, null));
      const answer = await answerTo(egress, target, prepared, { maxBytes, wholeMs, timeouts, signal });
      const endedAtMs = now();
      const code = codeOf(provider, answer);
      const ok = code === null;
      ends.write(
        endFields(identity, 1, begin, {
          final: true,
          outcome: code ?? 'ok',
          endReason: answer.error === null ? 'complete' : 'upstream_broken',
          status: answer.status,
          upstreamRequestId: null,
          startedAtMs,
          endedAtMs,
          firstByteMs: null,
          requestBytes: 0,
          responseBytes: answer.body.length,
          reading: null,
          billed: {},
          // The cheapest request that needs a key is one that costs nothing.
          cost: { nanoUsd: 0n, version: prices.version },
        }),
      );
      const message =
        code === null ? null : `API key test failed: ${sentence(code, provider, answer.status)}`;
      return { ok, status: answer.status, code, ms: endedAtMs - startedAtMs, message };
    } finally {
      prepared.wipe();
    }
  };
}

function sentence(code: ErrorCode, provider: Provider, status: number | null): string {
  const answered = status === null ? '' : ` (status ${status})`;
  if (code === 'UPSTREAM_AUTH') return `${provider.title} refused the key${answered}.`;
  if (code === 'UPSTREAM_RATE_LIMITED')
    return `${provider.title} is rate limiting this key${answered}; the key itself may be good.`;
  return `${errorTable[code].title}${answered}.`;
}
