import { SallyportError } from '../errors.ts';
import { priceListOf } from '../providers/price-lists.ts';
import type { PriceBook } from '../providers/price.ts';
import type { TimeLimits } from '../providers/time-limits.ts';
import type { OnDisconnect } from '../token-policy.ts';
import { readPlace } from './base-url.ts';
import { splicesUsage } from './decision.ts';
import { modelInPath } from './incoming.ts';
import { type Aliased, aliasOf } from './model-alias.ts';
import type { Question, Resolver } from './model-choice.ts';
import { type PriceView, viewPrice } from './price-view.ts';
import { plan, type Skipped } from './resolve.ts';
import type { CallerSnapshot, KeySnapshot } from './snapshot.ts';
import type { Target } from './target.ts';
import type { LimitsOf } from './time-limits.ts';

/** A call that nobody makes. */
export interface Supposed {
  readonly model: string | null;
  /** On this gateway: `/v1/chat/completions`. */
  readonly endpoint: string;
  readonly method: string;
  readonly isStream: boolean;
  /** It would bring the seals of sealed keys. */
  readonly hasSeal: boolean;
}

/** Where a call would go, in the order of its attempts, or why it would be refused. Nothing is opened, asked for or recorded. */
export interface Explanation {
  readonly model: string | null;
  readonly method: string;
  readonly endpoint: string;
  readonly refusal: Refused | null;
  /** The workspace's alias that the model is. */
  readonly alias: Aliased | null;
  readonly targets: readonly TargetView[];
  /** Keys and models that are passed over, and why. */
  readonly skipped: readonly Skipped[];
  /** Null where the token is none that calls are made with. */
  readonly limits: LimitsView | null;
}

export interface Refused {
  readonly code: string;
  readonly status: number;
  readonly message: string;
  readonly fix: string;
}

export interface TargetView {
  /** A provider's name, or a custom provider's own. */
  readonly provider: string;
  readonly keyId: string;
  readonly keyName: string;
  readonly keyVersion: number;
  readonly keySource: string;
  /** Where several could pay, each gets its weight's part. */
  readonly weight: number;
  /** The call has to bring its seal. */
  readonly needsSeal: boolean;
  readonly origin: string;
  readonly path: string;
  readonly operation: string;
  /** As asked for, or as the token's policy names it. */
  readonly model: string | null;
  readonly upstreamModel: string | null;
  readonly isFallback: boolean;
  /** Usage is asked for at the end of the stream where the client does not. */
  readonly asksStreamUsage: boolean;
  readonly timeouts: TimeLimits;
  /** Null: not known, which is not free. */
  readonly pricing: PriceView | null;
}

export interface LimitsView {
  readonly requestsPerMinute: number;
  readonly concurrentCalls: number;
  readonly maxAttempts: number;
  readonly retryStale: boolean;
  readonly onDisconnect: OnDisconnect;
  readonly networks: readonly string[] | null;
  readonly endpoints: readonly string[] | null;
  /** RFC 3339, or null. */
  readonly expiresAt: string | null;
}

export interface ExplainDeps {
  readonly describe: (workspaceId: string, tokenId: string) => Promise<CallerSnapshot | null>;
  readonly resolver: Resolver;
  readonly limitsOf: LimitsOf;
  readonly prices: Pick<PriceBook, 'priceOf'>;
}

export type Explain = (
  token: { readonly workspaceId: string; readonly tokenId: string },
  supposed: Supposed,
) => Promise<Explanation>;

export function createExplain({ describe, resolver, limitsOf, prices }: ExplainDeps): Explain {
  return async function explain({ workspaceId, tokenId }, supposed) {
    const { model, method, endpoint } = supposed;
    const caller = await describe(workspaceId, tokenId);
    const known = { model, method, endpoint, alias: null, targets: [], skipped: [] };
    if (caller === null) return { ...known, refusal: refused(noToken()), limits: null };
    const limits = limitsView(caller);
    try {
      if (caller.expiresAt !== null && caller.expiresAt <= resolver.now()) throw noToken();
      const question = questionOf(supposed);
      const alias =
        question.place.base.kind === 'unified' && model !== null ? aliasOf(caller.aliases, model) : null;
      const { targets, skipped } = plan(resolver, caller, question);
      const views = targets.map((target) => view(caller, supposed, target));
      return { ...known, model: question.model, refusal: null, alias, targets: views, skipped, limits };
    } catch (error) {
      if (!(error instanceof SallyportError)) throw error;
      return { ...known, refusal: refused(error), limits };
    }
  };

  function view(caller: CallerSnapshot, { isStream }: Supposed, target: Target): TargetView {
    const { provider, providerName, origin, model, upstreamModel } = target;
    const key = target.key as KeySnapshot;
    const sent = upstreamModel ?? model;
    const list = priceListOf(provider.name, origin);
    return {
      provider: providerName,
      keyId: key.id,
      keyName: key.name,
      keyVersion: key.version,
      keySource: key.source,
      weight: key.weight,
      needsSeal: key.protection === 'sealed',
      origin,
      path: target.path,
      operation: target.operation,
      model,
      upstreamModel: sent,
      isFallback: target.modelAt > 0,
      asksStreamUsage: isStream && splicesUsage(target),
      timeouts: limitsOf(target, caller.policy.timeouts),
      pricing:
        sent === null
          ? null
          : viewPrice(prices, caller.prices, {
              list,
              provider: providerName,
              model: sent,
              at: resolver.now(),
            }),
    };
  }
}

function questionOf({ model, endpoint, method, hasSeal }: Supposed): Question {
  const place = readPlace(endpoint);
  const inPath = place.base.dialect === 'google' ? modelInPath(place) : null;
  return {
    place,
    method,
    model: inPath ?? model,
    providerHint: null,
    isOpaque: false,
    isPassThrough: false,
    hasSeal,
    renames: inPath === null ? (model === null ? null : 'body') : 'path',
  };
}

function limitsView(caller: CallerSnapshot): LimitsView {
  const { requestsPerMinute, concurrentCalls, networks, endpoints, expiresAt, policy } = caller;
  const { maxAttempts, retryStale, onDisconnect } = policy;
  return {
    requestsPerMinute,
    concurrentCalls,
    maxAttempts,
    retryStale,
    onDisconnect,
    networks,
    endpoints,
    expiresAt: expiresAt === null ? null : new Date(expiresAt).toISOString(),
  };
}

function noToken(): SallyportError {
  return new SallyportError('AUTH_INVALID', 'The token makes no calls: it is revoked, expired, or for /api.');
}

function refused({ code, status, message, fix }: SallyportError): Refused {
  return { code, status, message, fix };
}
