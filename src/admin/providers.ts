import type { Dialect } from '../dialects/dialect.ts';
import type { Provider } from '../providers/provider.ts';
import type { Caller } from './caller.ts';
import { authOf } from './key-place.ts';
import { demand } from './permissions.ts';

/** What somebody needs who wants to store a provider's key, or to call it. */
export interface ProviderView {
  readonly name: string;
  readonly title: string;
  readonly dialect: Dialect;
  /** On this gateway, for an SDK; `<name>` is the custom key's. */
  readonly baseUrl: string;
  /** In force here: the provider's own, or the operator's; null for `custom`, whose keys bring theirs. */
  readonly origin: string | null;
  readonly basePath: string;
  readonly auth: string;
  /** Where keys are made, and where the provider tells what they were used for; null for `custom`. */
  readonly keyPage: string | null;
  readonly usagePage: string | null;
  /** What its keys look like, in words. */
  readonly keyShape: string;
}

export interface ProvidersDeps {
  readonly providers: ReadonlyMap<string, Provider>;
  readonly originOf: (provider: string) => string;
}

export type Providers = ReturnType<typeof createProviders>;

export function createProviders({ providers, originOf }: ProvidersDeps) {
  return Object.freeze({
    list(caller: Caller): { readonly data: readonly ProviderView[] } {
      demand(caller, 'workspace:read');
      return { data: [...providers.values()].map((provider) => view(provider, originOf)) };
    },
  });
}

function view(provider: Provider, originOf: (provider: string) => string): ProviderView {
  const { name, title, dialect, basePath, keyPage, usagePage, keyShape } = provider;
  return {
    name,
    title,
    dialect,
    baseUrl: baseUrlOf(provider),
    origin: originOf(name) || null,
    basePath,
    auth: authOf(provider),
    keyPage: keyPage || null,
    usagePage: usagePage || null,
    keyShape: keyShape.hint,
  };
}

/** SDKs of OpenAI's dialect bring no version of their own, the others do. */
function baseUrlOf({ name, dialect, basePath }: Provider): string {
  if (name === 'custom') return '/custom/<name>';
  return dialect === 'openai' ? `/${name}${basePath}` : `/${name}`;
}
