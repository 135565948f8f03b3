import type { Provider } from '../providers/provider.ts';
import type { KeySnapshot } from './snapshot.ts';

/** Whose key pays (VAULT.md, "Life of a provider key"). */
export type KeySource = 'own' | 'shared' | 'managed' | 'pass-through';

/** A key that came with its call (VAULT.md, "Protections"): kept nowhere, so that there is nothing to name it by but its fingerprint. */
export interface GivenKey {
  readonly id: null;
  readonly version: null;
  readonly source: 'pass-through';
  readonly protection: 'none';
  readonly isCallersOwn: true;
  readonly auth: 'bearer' | `header:${string}`;
  readonly asksStreamUsage: boolean;
}

/** Where one call goes: decided before anything is opened. */
export interface Target {
  readonly provider: Provider;
  /** The provider's name, or a custom provider's own. */
  readonly providerName: string;
  readonly key: KeySnapshot | GivenKey;
  readonly origin: string;
  readonly reach: 'public' | 'operator';
  /** Path and query as sent upstream. */
  readonly path: string;
  readonly operation: string;
  /** As asked for, or as the token's policy names it; null where the call names none. */
  readonly model: string | null;
  /** 0: what was asked for; from 1 on what the token falls back to. */
  readonly modelAt: number;
  /** The name that goes upstream where it differs from the one asked for (`groq/llama` → `llama`). */
  readonly upstreamModel: string | null;
}
