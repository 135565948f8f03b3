import type { Store } from '../db/store.ts';
import { matches } from '../name-pattern.ts';
import { nearName } from '../near-name.ts';
import type { Provider } from '../providers/provider.ts';
import { isCustomName } from './key-place.ts';
import { isUsableBy } from './key-visibility.ts';
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

/** A slip of the finger: `openai-eu` beside `openai` is a name of its own. */
const slip = 2;
/** Of the custom names that a wrong one is compared with. */
const maxCompared = 256;

/**
 * The key of a custom provider may come later than the token, but a token for `opnai` would be good for nothing, and nobody be told.
 *
 * @throws {SallyportError} REQUEST_INVALID naming the member: no provider of the token's user, and almost the name of one.
 */
export async function checkSlips(
  store: Pick<Store, 'asWorkspace'>,
  providers: KnownProviders,
  { workspaceId, userId }: { readonly workspaceId: string; readonly userId: string },
  asked: AskedReach,
): Promise<void> {
  const named = (asked.providers ?? []).filter((name) => !providers.has(name));
  if (named.length === 0) return;
  const { there, others } = await store.asWorkspace(workspaceId, async (tx) => {
    // Others' keys are not told of.
    const custom = tx
      .selectFrom('provider_keys')
      .select('name')
      .distinct()
      .where('workspace_id', '=', workspaceId)
      .where('provider', '=', 'custom')
      .where(isUsableBy(userId));
    return {
      there: new Set((await custom.where('name', 'in', named).execute()).map(({ name }) => name)),
      others: (await custom.orderBy('name').limit(maxCompared).execute()).map(({ name }) => name),
    };
  });
  const known = [...builtIn(providers), ...others];
  for (const [i, name] of (asked.providers ?? []).entries()) {
    if (providers.has(name) || there.has(name)) continue;
    const near = nearName(name, known, slip);
    if (near !== null)
      throw invalid(
        `/providers/${i}`,
        `is no provider yet; did you mean ${near}? If not, store the key of ${name} first`,
      );
  }
}

function builtIn(providers: KnownProviders): string[] {
  return [...providers.keys()].filter((one) => one !== 'custom');
}

/** A custom provider goes by its own name, and its key may come later than the token. */
function checkProvider(providers: KnownProviders, i: number, name: string): void {
  const known = builtIn(providers);
  if (known.includes(name) || isCustomName(providers, name)) return;
  const near = nearName(name.toLowerCase(), known);
  throw invalid(
    `/providers/${i}`,
    near === null
      ? `has to be one of ${known.join(', ')}, or the name of a custom provider`
      : `is no provider; did you mean ${near}?`,
  );
}
