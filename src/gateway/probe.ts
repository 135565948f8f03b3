import { errorTable, type ErrorCode } from '../errors.ts';
import type { Provider } from '../providers/provider.ts';
import { codeOf } from './own-answer.ts';
import { answerOnRecord, type OwnUseDeps } from './own-use.ts';
import type { KeySnapshot } from './snapshot.ts';
import type { Target } from './target.ts';

export interface ProbeDeps extends OwnUseDeps {
  readonly originOf: (provider: string) => string;
  readonly isOperatorSet: (origin: string) => boolean;
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
export function createProbe(deps: ProbeDeps) {
  const { originOf, isOperatorSet, signal } = deps;
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
      // The cheapest request that needs a key is one that costs nothing.
      const { answer, verdict, ms } = await answerOnRecord(
        deps,
        { caller: { ...caller, tokenId: null }, target, fingerprint: key.fingerprint, client: null },
        prepared,
        { maxBytes, wholeMs, timeouts, signal },
        (given) => ({ code: codeOf(provider, given) }),
      );
      const { code } = verdict;
      const message =
        code === null ? null : `API key test failed: ${sentence(code, provider, answer.status)}`;
      return { ok: code === null, status: answer.status, code, ms, message };
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
