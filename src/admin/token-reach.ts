import { matches } from '../name-pattern.ts';
import { nearName } from '../near-name.ts';
import type { Provider } from '../providers/provider.ts';
import { isCustomName } from './key-place.ts';
import { invalid } from './moment.ts';

/** What of a new token says which calls it may make. */
export interface AskedReach {
  readonly kind?: 'gateway' | 'admin' | undefined;
  readonly providers?: readonly string[] | null | undefined;
  readonly models?: readonly string[] | null | undefined;
  readonly keyIds?: readonly string[] | null | undefined;
  readonly requestsPerMinute?: number | undefined;
  readonly concurrentCalls?: number | undefined;
  readonly endpoints?: readonly string[] | null | undefined;
  readonly networks?: readonly string[] | null | undefined;
  readonly policy?: object | null | undefined;
}

type KnownProviders = ReadonlyMap<string, Pick<Provider, 'operations'>>;

/**
 * Refuses what would be ignored, and what no call could ever meet: a token that looks narrow and is not, or is good for nothing.
 *
 * @throws {SallyportError} REQUEST_INVALID naming the member.
 */
export function checkReach(providers: KnownProviders, asked: AskedReach): void {
  if (asked.kind === 'admin') refuseForAdmin(asked);
  for (const [i, name] of (asked.providers ?? []).entries()) checkProvider(providers, i, name);
  const operations = [...new Set([...providers.values()].flatMap((provider) => provider.operations))];
  for (const [i, pattern] of (asked.endpoints ?? []).entries()) {
    if (operations.some((operation) => matches(pattern, operation))) continue;
    const near = nearName(pattern, operations);
    throw invalid(
      `/endpoints/${i}`,
      `is no operation, such as openai.chat or google.*${near === null ? '' : `; did you mean ${near}?`}`,
    );
  }
}

/** They are about calls, and an admin token makes none. */
function refuseForAdmin(asked: AskedReach): void {
  for (const member of [
    'providers',
    'models',
    'keyIds',
    'requestsPerMinute',
    'concurrentCalls',
    'endpoints',
    'networks',
    'policy',
  ] as const) {
    if (asked[member] !== undefined && asked[member] !== null)
      throw invalid(`/${member}`, 'is for gateway tokens only');
  }
}

/** A custom provider goes by its own name, and its key may come later than the token. */
function checkProvider(providers: KnownProviders, i: number, name: string): void {
  const known = [...providers.keys()].filter((one) => one !== 'custom');
  if (known.includes(name) || isCustomName(providers, name)) return;
  const near = nearName(name.toLowerCase(), known);
  throw invalid(
    `/providers/${i}`,
    near === null
      ? `has to be one of ${known.join(', ')}, or the name of a custom provider`
      : `is no provider; did you mean ${near}?`,
  );
}
