import type { Dialect } from '../dialects/dialect.ts';
import type { UsageReader } from '../dialects/usage-reader.ts';
import type { ErrorCode } from '../errors.ts';
import { rememberedByPath } from './by-path.ts';
import { classifyStatus } from './failure.ts';
import { isResponseHeader, requestHeaderNames, requestIdOf } from './headers.ts';
import type { KeyShape } from './key-shape.ts';
import { refusedPathsOf } from './refused-paths.ts';
import { plainLimits, thinkingLimits, type TimeLimits } from './time-limits.ts';

/** Everything that the gateway knows of one provider. Pure: nothing here connects, reads a clock or sees a key as text. */
export interface Provider {
  readonly name: string;
  readonly title: string;
  readonly dialect: Dialect;
  /** https, without a path. Empty for `custom`, whose keys bring their own. */
  readonly origin: string;
  /** What `/v1` of the OpenAI-dialect base URL stands for at the provider. */
  readonly basePath: string;
  readonly credential: { readonly header: string; readonly prefix: string };
  readonly keyShape: KeyShape;
  /** Where a person makes keys, and where he sees what they cost. */
  readonly keyPage: string;
  readonly usagePage: string;
  /** How its keys with power over the account begin: they make and list other keys, and are never lent out. */
  readonly administrativeStarts: readonly string[];
  /** Request headers that are forwarded, lower case; all others are dropped. */
  readonly requestHeaders: ReadonlySet<string>;
  /** Forwarded with a caller's own key only: they choose whose account within the key's reach pays. */
  readonly ownKeyHeaders: ReadonlySet<string>;
  /** Answer headers that are relayed; `name` in lower case. Framing, our own and identifying ones are not among them. */
  responseHeaders(name: string): boolean;
  /** The cheapest request that needs a valid key. */
  readonly probe: { readonly method: 'GET'; readonly path: string };
  /** A name from a closed set, for labels and records. `path` is the provider's, with or without a query. */
  operation(method: string, path: string): string;
  /** That set. */
  readonly operations: readonly string[];
  /** Does a model without a provider's name before it belong here? */
  servesBareModel(model: string): boolean;
  /** Names for the metrics' label; anything else is `other`. */
  readonly knownModels: ReadonlySet<string>;
  /** Null where an answer carries no token counts. */
  usageReader(operation: string): UsageReader | null;
  /** What holds unless the operator or a token says otherwise; the same object for the same operation. */
  timeLimits(operation: string): TimeLimits;
  /** Is `stream_options.include_usage` known to be accepted here? */
  splicesStreamUsage(operation: string): boolean;
  /** Null: relayed as it is. `body` at most 64 KiB, decoded. */
  classify(status: number, body: Buffer): ErrorCode | null;
  /** A reason to test the key with a request of our own. */
  isKeyRefusal(status: number, body: Buffer): boolean;
  /** Does a refusal show that the key itself is good, and only not for this? */
  isScopeRefusal(status: number, body: Buffer): boolean;
  /** Endpoints that hand out credentials or manage the account: never relayed. */
  isRefusedPath(method: string, path: string): boolean;
  /** Objects that stay in the account (files, batches, stored responses): not on a key that several people use. */
  isStatefulPath(method: string, path: string): boolean;
  upstreamRequestId(headers: readonly (readonly [string, string])[]): string | null;
}

type Given =
  | 'requestHeaders'
  | 'ownKeyHeaders'
  | 'responseHeaders'
  | 'classify'
  | 'isKeyRefusal'
  | 'isScopeRefusal'
  | 'isRefusedPath'
  | 'upstreamRequestId'
  | 'timeLimits'
  | 'knownModels'
  | 'administrativeStarts';

/** What one provider's file says: all that differs. */
export interface ProviderSpec extends Omit<Provider, Given> {
  readonly knownModels: readonly string[];
  /** Besides the ones that every provider gets. */
  readonly forwards: readonly string[];
  readonly forwardsWithOwnKey?: readonly string[];
  /** Names or prefixes (ending with `-`) of answer headers besides the common ones. */
  readonly relays: readonly string[];
  readonly administrativeStarts?: readonly string[];
  /** Operations whose answer may take minutes: of models that think, draw, or listen to hours of speech. */
  readonly slow: ReadonlySet<string> | 'all';
  /** Statuses that mean something else here than in general. */
  readonly statuses?: Readonly<Record<number, ErrorCode>>;
  /** A refusal of the key that doesn't come as 401 or 403. */
  readonly refusesKey?: (status: number, body: Buffer) => boolean;
  /** A 401 or 403 that only says that the key is for other endpoints. */
  readonly refusesScope?: (body: Buffer) => boolean;
}

export function defineProvider(spec: ProviderSpec): Provider {
  const {
    knownModels,
    forwards,
    forwardsWithOwnKey,
    relays,
    slow,
    statuses,
    refusesKey,
    refusesScope,
    ...rest
  } = spec;
  const isKeyRefusal = (status: number, body: Buffer): boolean =>
    status === 401 || status === 403 || (refusesKey?.(status, body) ?? false);
  return Object.freeze({
    administrativeStarts: [],
    ...rest,
    knownModels: new Set(knownModels),
    requestHeaders: new Set([...requestHeaderNames, ...forwards]),
    ownKeyHeaders: new Set(forwardsWithOwnKey),
    responseHeaders: (name: string) => isResponseHeader(name, relays),
    timeLimits: (operation: string) => (slow === 'all' || slow.has(operation) ? thinkingLimits : plainLimits),
    isKeyRefusal,
    isScopeRefusal: (status: number, body: Buffer) =>
      (status === 401 || status === 403) && (refusesScope?.(body) ?? false),
    classify: (status: number, body: Buffer) =>
      isKeyRefusal(status, body) ? 'UPSTREAM_AUTH' : (statuses?.[status] ?? classifyStatus(status)),
    operation: rememberedByPath(spec.operation),
    isRefusedPath: rememberedByPath(refusedPathsOf(spec.name)),
    isStatefulPath: rememberedByPath(spec.isStatefulPath),
    upstreamRequestId: requestIdOf,
  });
}
