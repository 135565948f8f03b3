import { SallyportError } from '../errors.ts';
import { isCredentialHeader } from '../vault/credential-header.ts';
import { invalid } from './moment.ts';

/** What the catalogue of providers tells this room. */
export interface KnownProvider {
  readonly title: string;
  /** Where a person makes keys. */
  readonly keyPage: string;
  readonly basePath: string;
  readonly credential: { readonly header: string; readonly prefix: string };
  readonly keyShape: { readonly pattern: (key: Buffer) => boolean; readonly hint: string };
}

export interface Places {
  readonly providers: ReadonlyMap<string, KnownProvider>;
  /** Does a value give power over a provider's account? */
  readonly isAdministrative: (provider: string, secret: Buffer) => boolean;
  /** The origin in force for a known provider: canonical, or set by the operator. */
  readonly originOf: (provider: string) => string;
  /** Origins that the operator listed (`SALLYPORT_ALLOW_ORIGINS`). */
  readonly allowOrigins: readonly string[];
  /** @returns the one form in which an origin is sealed and compared. @throws {SallyportError} EGRESS_REFUSED */
  readonly checkOrigin: (origin: string, reach: 'public' | 'operator') => string;
}

export type Auth = 'bearer' | 'none' | `header:${string}`;

/** Where a key may go and how it is sent: sealed in with it, never changed without the secret. */
export interface Place {
  readonly auth: Auth;
  readonly origins: string[];
  readonly basePath: string;
  /** The operator named these origins himself: loopback and plain http are allowed. */
  readonly isOperatorOrigin: boolean;
}

export interface PlaceInput {
  readonly name: string;
  readonly provider?: string | undefined;
  readonly service?: string | undefined;
  readonly origins?: string[] | undefined;
  readonly basePath?: string | undefined;
  readonly auth?: string | undefined;
}

/** Words that stand first in a path of ours, or would in a later stage: a custom provider may not hide behind one. */
const reserved: ReadonlySet<string> = new Set(
  'v1 custom api healthz readyz metrics bedrock s3 realtime openai anthropic google gemini groq xai'.split(
    ' ',
  ),
);

/** `provider`, or its synonym `service`. @throws {SallyportError} REQUEST_INVALID */
export function readProvider({ providers }: Pick<Places, 'providers'>, input: PlaceInput): string {
  const { provider, service } = input;
  if (provider !== undefined && service !== undefined && provider !== service) {
    throw invalid('/service', 'is a synonym of provider and has to be the same');
  }
  const name = provider ?? service;
  if (name === undefined) throw invalid('/provider', 'is required');
  if (name === 'custom' || providers.has(name)) return name;
  const known = [...new Set([...providers.keys(), 'custom'])].join(', ');
  throw invalid('/provider', `has to be one of ${known}`);
}

/**
 * @param isOperators the operator stores a key of his own: what he names is allowed.
 * @throws {SallyportError} REQUEST_INVALID, EGRESS_REFUSED.
 */
export function readPlace(places: Places, isOperators: boolean, provider: string, input: PlaceInput): Place {
  return provider === 'custom'
    ? customPlace(places, isOperators, input)
    : knownPlace(places, provider, input);
}

/** A known provider's origin, path and header are the catalogue's: a caller who could choose them could send a key elsewhere. */
function knownPlace({ providers, originOf }: Places, provider: string, input: PlaceInput): Place {
  const known = providers.get(provider) as KnownProvider;
  const place = {
    auth: authOf(known),
    origins: [originOf(provider)],
    basePath: known.basePath,
    isOperatorOrigin: false,
  };
  if (input.auth !== undefined && input.auth !== place.auth) {
    throw invalid('/auth', `is ${place.auth} for ${provider}; another takes provider custom`);
  }
  if (input.basePath !== undefined && input.basePath !== place.basePath) {
    throw invalid('/basePath', 'is for provider custom only');
  }
  const isSame = input.origins?.length === 1 && input.origins[0] === place.origins[0];
  if (input.origins !== undefined && input.origins.length > 0 && !isSame) {
    throw invalid('/origins', `are set by the operator for ${provider}; others take provider custom`);
  }
  return place;
}

export function authOf({ credential }: Pick<KnownProvider, 'credential'>): Auth {
  return credential.header === 'authorization' && credential.prefix === 'Bearer '
    ? 'bearer'
    : `header:${credential.header}`;
}

function customPlace(places: Places, isOperators: boolean, input: PlaceInput): Place {
  checkCustomName(places, input.name);
  if (input.origins === undefined || input.origins.length === 0) {
    throw invalid('/origins', 'is required for provider custom: ["https://llm.example.com"]');
  }
  const origins = [...new Set(input.origins.map((origin) => places.checkOrigin(origin, 'operator')))];
  // One reach for all of them: a listed private origin doesn't open the way to another beside it.
  const isOperatorOrigin = isOperators || origins.every((origin) => places.allowOrigins.includes(origin));
  for (const origin of origins) places.checkOrigin(origin, isOperatorOrigin ? 'operator' : 'public');
  return {
    auth: readAuth(input.auth ?? 'bearer'),
    origins,
    basePath: readBasePath(input.basePath ?? '/v1'),
    isOperatorOrigin,
  };
}

const customName = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** May a custom provider be called so? */
export function isCustomName(providers: Pick<Places['providers'], 'has'>, name: string): boolean {
  return customName.test(name) && !reserved.has(name) && !providers.has(name);
}

/** @throws {SallyportError} REQUEST_INVALID: the name stands in URLs, `/custom/NAME/…` and `NAME/model`. */
export function checkCustomName({ providers }: Pick<Places, 'providers'>, name: string): void {
  if (!customName.test(name)) {
    throw invalid(
      '/name',
      'of a custom provider is a part of URLs: 1 to 63 of a-z, 0-9 and -, the first no hyphen',
    );
  }
  if (!isCustomName(providers, name)) throw invalid('/name', 'is the name of a known provider or base URL');
}

function readAuth(auth: string): Auth {
  if (auth === 'bearer' || auth === 'none') return auth;
  const header = /^header:(.+)$/s.exec(auth)?.[1]?.toLowerCase();
  if (header !== undefined && isCredentialHeader(header)) return `header:${header}`;
  throw invalid(
    '/auth',
    'has to be bearer, none, or header:NAME with a header that carries credentials (x-api-key, api-key, …)',
  );
}

/** Of a known provider the catalogue says which endpoints take the option. @throws {SallyportError} REQUEST_INVALID */
export function readStreamUsage(provider: string, isAsked: boolean): boolean {
  if (isAsked && provider !== 'custom') throw invalid('/streamUsage', 'is for provider custom only');
  return isAsked;
}

/** `/`, or `/segments` without what a router could read otherwise than we do. */
function readBasePath(path: string): string {
  const bare = path.replace(/\/$/, '');
  if (bare === '') return '/';
  if (/^(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._~-]{1,64}){1,16}$/.test(bare)) return bare;
  throw invalid('/basePath', 'has to be a plain path: /v1');
}

/** @throws {SallyportError} KEY_FORMAT with the expected shape, never the value. */
export function checkShape(known: KnownProvider | undefined, provider: string, secret: Buffer): void {
  if (provider === 'custom' || known === undefined || known.keyShape.pattern(secret)) return;
  throw new SallyportError(
    'KEY_FORMAT',
    `Invalid API key format: a key for ${provider} looks like ${known.keyShape.hint}.`,
    { fix: `Check what was pasted; keys are made at ${known.keyPage}. force: true stores it anyway.` },
  );
}

/** What a key may be used for, by its value. One that is not known here is judged where it is opened. */
export function purposeOf(
  { isAdministrative }: Pick<Places, 'isAdministrative'>,
  provider: string,
  secret: Buffer | null,
): 'relay' | 'usage' {
  return secret !== null && isAdministrative(provider, secret) ? 'usage' : 'relay';
}

/**
 * A new value may not turn a key that calls use into one with power over the account, nor back: whoever may use the key would not
 * know. `force` does not change this.
 *
 * @throws {SallyportError} KEY_FORMAT
 */
export function checkSamePurpose(now: 'relay' | 'usage', next: 'relay' | 'usage'): void {
  if (now === next) return;
  throw new SallyportError(
    'KEY_FORMAT',
    next === 'usage'
      ? 'The new value has administrative power over the provider’s account, and this key is for calls.'
      : 'The new value is for calls, and this key is kept for usage reports alone.',
    { fix: 'Store it as a key of its own, and delete this one if it is not needed any more.' },
  );
}
