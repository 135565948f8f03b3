import type { ListedModel } from '../dialects/model-list.ts';
import { SallyportError } from '../errors.ts';
import { matches } from '../name-pattern.ts';
import { priceListOf } from '../providers/price-lists.ts';
import type { PriceBook } from '../providers/price.ts';
import type { Vault } from '../vault/vault.ts';
import type { Place } from './base-url.ts';
import { aliasOf } from './model-alias.ts';
import { choose, type Question, type Resolver, usableNames } from './model-choice.ts';
import type { ModelLists } from './model-lists.ts';
import { type PriceView, viewPrice } from './price-view.ts';
import { quoted } from './quoted.ts';
import { resolve } from './resolve.ts';
import type { SealGate } from './seal-gate.ts';
import type { CallerSnapshot, KeySnapshot } from './snapshot.ts';
import type { Target } from './target.ts';
import { nearModel } from './unknown-model.ts';

/** OpenAI's object for a model, with what the gateway knows besides. */
export interface ModelView {
  /** As a call on /v1 asks for it. */
  readonly id: string;
  readonly object: 'model';
  /** Seconds since the epoch; 0 where the provider doesn't tell. */
  readonly created: number;
  readonly owned_by: string;
  readonly sallyport: {
    /** A provider's name, or a custom provider's own. */
    readonly provider: string;
    /** The provider's own name of it. */
    readonly model: string;
    readonly isAlias: boolean;
    readonly dialect: string;
    /** Where a client finds the provider in its own form. */
    readonly baseUrl: string;
    /** Tokens, or null. */
    readonly contextLength: number | null;
    readonly pricing: PriceView | null;
  };
}

export interface Catalog {
  readonly data: readonly ModelView[];
  /** Providers that gave no list. */
  readonly missing: readonly string[];
}

/** Who asks, with what came along. */
export interface Asking {
  readonly caller: CallerSnapshot;
  /** The call's to wipe. */
  readonly seal: Buffer | null;
  readonly clientAddress: string;
}

export interface ModelCatalogDeps {
  readonly resolver: Resolver;
  readonly lists: Pick<ModelLists, 'of' | 'remembered'>;
  readonly sealGate: Pick<SealGate, 'prepare'>;
  readonly prices: Pick<PriceBook, 'priceOf'>;
  readonly markClient: Vault['markClient'];
}

/** What a token may ask for on /v1. */
export interface ModelCatalog {
  /** @throws {SallyportError} why nobody may be asked, or why nobody answered. */
  list(asking: Asking): Promise<Catalog>;
  /**
   * @returns null: a bare name that stands in no list, and that only its provider can say more of.
   * @throws {SallyportError} MODEL_UNKNOWN, MODEL_DIALECT; why its provider may not be asked, or did not answer.
   */
  one(asking: Asking, id: string): Promise<ModelView | null>;
}

/** `provider/model` of everything that is remembered for a caller. */
export function listedFor(
  resolver: Resolver,
  lists: Pick<ModelLists, 'remembered'>,
  caller: CallerSnapshot,
): readonly string[] {
  return usableNames(resolver, caller).flatMap((name) => {
    const target = targetOf(resolver, caller, name);
    return target instanceof SallyportError ? [] : lists.remembered(target).map(({ id }) => `${name}/${id}`);
  });
}

export function createModelCatalog(deps: ModelCatalogDeps): ModelCatalog {
  const { resolver, lists, sealGate, prices, markClient } = deps;

  async function listAt(
    { caller, seal, clientAddress }: Asking,
    target: Target,
  ): Promise<readonly ListedModel[]> {
    const key = target.key as KeySnapshot;
    const { workspaceId, tokenId } = caller;
    return lists.of(caller, target, markClient(clientAddress, caller), () =>
      key.protection === 'standard'
        ? key.prepare(null)
        : sealGate.prepare(key, seal, { workspaceId, tokenId, ip: clientAddress }),
    );
  }

  async function answerOf(asking: Asking, name: string) {
    const target = targetOf(resolver, asking.caller, name);
    if (target instanceof SallyportError) return { name, refusal: target };
    try {
      return { name, target, models: await listAt(asking, target) };
    } catch (error) {
      if (error instanceof SallyportError) return { name, refusal: error };
      throw error;
    }
  }

  function view(caller: CallerSnapshot, id: string, target: Target, found: Found): ModelView {
    const { provider, origin } = target;
    const { name, model, listed, isAlias } = found;
    const list = priceListOf(provider.name, origin);
    return {
      id,
      object: 'model',
      created: listed?.created ?? 0,
      owned_by: listed?.ownedBy ?? name,
      sallyport: {
        provider: name,
        model,
        isAlias,
        dialect: provider.dialect,
        baseUrl: provider.name === 'custom' ? `/custom/${name}` : `/${name}${provider.basePath}`,
        contextLength: listed?.contextLength ?? null,
        pricing: viewPrice(prices, caller.prices, { list, provider: name, model, at: resolver.now() }),
      },
    };
  }

  /** Whole aliases that lead somewhere. */
  function aliases(caller: CallerSnapshot): readonly ModelView[] {
    return caller.aliases.flatMap(({ alias }) => {
      if (alias.includes('*') || !mayAsk(caller, alias)) return [];
      const found = foundBy(resolver, caller, alias);
      if (found instanceof SallyportError) return [];
      const target = targetOf(resolver, caller, found.name);
      if (target instanceof SallyportError) return [];
      const listed = lists.remembered(target).find(({ id }) => id === found.model) ?? null;
      return [view(caller, alias, target, { ...found, listed })];
    });
  }

  return Object.freeze<ModelCatalog>({
    async list(asking) {
      const { caller } = asking;
      const names = usableNames(resolver, caller);
      const answers = await Promise.all(names.map((name) => answerOf(asking, name)));
      const refusals = answers.flatMap(({ refusal }) => refusal ?? []);
      // An empty list would say less than why it is empty.
      if (refusals.length === answers.length)
        throw refusals[0] ?? (targetOf(resolver, caller, null) as SallyportError);
      const models = answers.flatMap(({ name, target, models = [] }) =>
        models.flatMap((listed) => {
          const id = askedBy(resolver, caller, name, listed.id);
          if (id === null || target === undefined) return [];
          return [view(caller, id, target, { name, model: listed.id, listed, isAlias: false })];
        }),
      );
      return {
        data: [...aliases(caller), ...models],
        missing: answers.filter(({ refusal }) => refusal !== undefined).map(({ name }) => name),
      };
    },

    async one(asking, id) {
      const { caller } = asking;
      if (!mayAsk(caller, id)) throw notListed(resolver, caller, id);
      const found = foundBy(resolver, caller, id);
      if (found instanceof SallyportError) throw found;
      const target = targetOf(resolver, caller, found.name);
      if (target instanceof SallyportError) throw target;
      const listed = (await listAt(asking, target)).find((model) => model.id === found.model) ?? null;
      if (listed === null && !found.isAlias) {
        if (isLeftToProvider(resolver, caller, found, id)) return null;
        throw notListed(resolver, caller, id);
      }
      return view(caller, id, target, { ...found, listed });
    },
  });
}

interface Found {
  readonly name: string;
  readonly model: string;
  readonly listed: ListedModel | null;
  readonly isAlias: boolean;
}

function questionOf(rest: string, model: string | null, providerHint: string | null): Question {
  const place: Place = { base: { kind: 'unified', dialect: 'openai' }, rest, query: '' };
  const plain = { isOpaque: false, isPassThrough: false, hasSeal: false, renames: null };
  return { place, method: 'GET', model, providerHint, ...plain };
}

/** Where a call for a provider's own list goes, and whose key it takes; or why it does not. */
function targetOf(resolver: Resolver, caller: CallerSnapshot, name: string | null): Target | SallyportError {
  // Of several keys always the same: what is remembered is by key.
  const steady = { ...resolver, random: () => 0 };
  return orRefusal(() => resolve(steady, caller, questionOf('/models', null, name)));
}

function foundBy(resolver: Resolver, caller: CallerSnapshot, id: string): Found | SallyportError {
  return orRefusal(() => {
    const { name, upstreamModel, aliased } = choose(resolver, caller, questionOf('/models', id, null));
    return { name, model: upstreamModel ?? id, listed: null, isAlias: aliased !== null };
  });
}

/** The name by which this token may ask for a model: with its provider; else bare, where its list of models has it so. */
function askedBy(resolver: Resolver, caller: CallerSnapshot, provider: string, model: string): string | null {
  const whole = `${provider}/${model}`;
  if (mayAsk(caller, whole)) return whole;
  if (!mayAsk(caller, model) || aliasOf(caller.aliases, model) !== null) return null;
  const found = foundBy(resolver, caller, model);
  return !(found instanceof SallyportError) && found.name === provider ? model : null;
}

function mayAsk({ models }: CallerSnapshot, name: string): boolean {
  return models === null || models.some((pattern) => matches(pattern, name));
}

/** A call without a model, as one for this name is if it is relayed, comes to the same provider. */
function isLeftToProvider(
  resolver: Resolver,
  caller: CallerSnapshot,
  { name, model }: Found,
  id: string,
): boolean {
  if (model !== id) return false;
  const target = targetOf(resolver, caller, null);
  return !(target instanceof SallyportError) && target.providerName === name;
}

function notListed(resolver: Resolver, caller: CallerSnapshot, id: string): SallyportError {
  const near = nearModel(resolver, caller, id);
  const message = `${quoted(id)} is no model that this token may ask for`;
  return near === null
    ? new SallyportError('MODEL_UNKNOWN', `${message}.`, { fix: 'GET /v1/models lists them.' })
    : new SallyportError('MODEL_UNKNOWN', `${message}; did you mean ${quoted(near)}?`, {
        fix: `Ask for ${quoted(near)}.`,
      });
}

function orRefusal<T>(work: () => T): T | SallyportError {
  try {
    return work();
  } catch (error) {
    if (error instanceof SallyportError) return error;
    throw error;
  }
}
