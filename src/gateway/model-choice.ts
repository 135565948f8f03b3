import { SallyportError } from '../errors.ts';
import type { Provider } from '../providers/provider.ts';
import type { BaseUrl, Place } from './base-url.ts';
import { aliasOf, type Aliased } from './model-alias.ts';
import { quoted } from './quoted.ts';
import type { CallerSnapshot } from './snapshot.ts';
import type { KeyValue } from './target-health.ts';
import { type KnownModels, unknownModel } from './unknown-model.ts';

export interface Resolver extends KnownModels {
  /** The origin in force for a known provider: canonical, or the operator's. */
  readonly originOf: (provider: string) => string;
  readonly isOperatorSet: (origin: string) => boolean;
  readonly now: () => number;
  /** From 0, below 1: draws among keys. */
  readonly random: () => number;
  /** False for a target that failed a moment ago, where another may do. */
  readonly isWell: (key: KeyValue, origin: string) => boolean;
}

export interface Question {
  readonly place: Place;
  readonly method: string;
  /** As the client wrote it, or null where no body was read or none names one. */
  readonly model: string | null;
  /** Others that the call names beside it, as they are called upstream; none where the token takes any. */
  readonly otherModels?: readonly string[];
  /** `x-sallyport-provider`. */
  readonly providerHint: string | null;
  /** A body is being streamed through unread: its model is not known. */
  readonly isOpaque: boolean;
  /** The call brings its own provider key, which goes before any stored one. */
  readonly isPassThrough: boolean;
  /** A seal came with the call. */
  readonly hasSeal: boolean;
  /** Where another model's name can be written in place of the one that was sent; null: nowhere. */
  readonly renames: 'body' | 'path' | null;
}

/** Which provider a call means, and by what name of the model. */
export interface Choice {
  readonly provider: Provider;
  /** The provider's name, or a custom provider's own. */
  readonly name: string;
  readonly custom: boolean;
  /** As it was asked for. */
  readonly model: string | null;
  /** What goes upstream in its place. */
  readonly upstreamModel: string | null;
  /** The workspace's alias that the model was asked for by. */
  readonly aliased: Aliased | null;
}

/** @throws {SallyportError} MODEL_UNKNOWN, MODEL_DIALECT, NOT_FOUND, REQUEST_INVALID. */
export function choose(resolver: Resolver, caller: CallerSnapshot, question: Question): Choice {
  const { base } = question.place;
  if (base.kind === 'native') return known(resolver, base.provider, question.model, null);
  if (base.kind === 'custom') return custom(resolver, base.name, question.model, null);
  if (question.model !== null) return byModel(resolver, caller, question.model, question.place);
  return withoutModel(resolver, caller, question);
}

function known(resolver: Resolver, name: string, model: string | null, upstreamModel: string | null): Choice {
  const provider = resolver.providers.get(name) as Provider;
  return { provider, name, custom: false, model, upstreamModel, aliased: null };
}

function custom(
  resolver: Resolver,
  name: string,
  model: string | null,
  upstreamModel: string | null,
): Choice {
  const provider = resolver.providers.get('custom') as Provider;
  return { provider, name, custom: true, model, upstreamModel, aliased: null };
}

/** An alias first, then what is named: whose alias it is decides what calls go where, and no name of another's key steps before it. */
function byModel(resolver: Resolver, caller: CallerSnapshot, model: string, place: Place): Choice {
  const aliased = aliasOf(caller.aliases, model);
  if (aliased === null) return byName(resolver, caller, model, place);
  const { target } = aliased;
  const choice = byName(resolver, caller, target, place);
  return { ...choice, model, upstreamModel: choice.upstreamModel ?? target, aliased };
}

/** Text before the first `/` is a provider or custom name if such exists, else the whole is a bare name (GATEWAY.md). */
function byName(resolver: Resolver, caller: CallerSnapshot, model: string, place: Place): Choice {
  const slash = model.indexOf('/');
  const first = slash > 0 ? model.slice(0, slash) : '';
  const rest = model.slice(slash + 1);
  if (first !== '' && rest !== '') {
    if (caller.keys.some((key) => key.provider === 'custom' && key.name === first)) {
      return custom(resolver, first, model, rest);
    }
    if (first !== 'custom' && resolver.providers.has(first))
      return inDialect(known(resolver, first, model, rest), place.base);
  }
  for (const provider of resolver.providers.values()) {
    if (provider.servesBareModel(model))
      return inDialect(known(resolver, provider.name, model, null), place.base);
  }
  throw unknownModel(resolver, caller, model);
}

function inDialect(choice: Choice, base: BaseUrl): Choice {
  if (choice.provider.dialect === base.dialect) return choice;
  const url = choice.provider.name === 'google' ? '/google' : `/${choice.provider.name}`;
  throw new SallyportError(
    'MODEL_DIALECT',
    `${quoted(choice.model ?? '')} is served by ${choice.provider.title}, in its own dialect.`,
    {
      fix: `Use its SDK with the base URL ${url} on this host.`,
    },
  );
}

function withoutModel(resolver: Resolver, caller: CallerSnapshot, question: Question): Choice {
  const hint = question.providerHint;
  if (hint !== null) {
    if (hint !== 'custom' && resolver.providers.has(hint))
      return inDialect(known(resolver, hint, null, null), question.place.base);
    if (caller.keys.some((key) => key.provider === 'custom' && key.name === hint))
      return custom(resolver, hint, null, null);
    throw new SallyportError(
      'REQUEST_INVALID',
      `x-sallyport-provider names ${quoted(hint)}, which is neither a provider nor a custom name of yours.`,
    );
  }
  if (question.isPassThrough) {
    throw new SallyportError(
      'REQUEST_INVALID',
      'This call brings its own provider key and names no model, so that it does not say whose key that is.',
      { fix: 'Say which provider in the header x-sallyport-provider, or use that provider’s own base URL.' },
    );
  }
  const names = usableNames(resolver, caller);
  const name =
    names.includes('openai') || names.length === 0 ? 'openai' : names.length === 1 ? names[0] : null;
  if (name === null || name === undefined) {
    throw new SallyportError(
      'REQUEST_INVALID',
      `This call names no model, and you have keys of several providers: ${names.join(', ')}.`,
      {
        fix: 'Say which in the header x-sallyport-provider, or use that provider’s own base URL.',
      },
    );
  }
  return resolver.providers.has(name) && name !== 'custom'
    ? known(resolver, name, null, null)
    : custom(resolver, name, null, null);
}

/** Providers and custom names of OpenAI's dialect that this token has keys for; what the keys are fit for is not looked at. */
export function usableNames(
  { providers }: Pick<Resolver, 'providers'>,
  caller: CallerSnapshot,
): readonly string[] {
  const names = new Set<string>();
  for (const key of caller.keys) {
    if (key.purpose !== 'relay') continue;
    const name = key.provider === 'custom' ? key.name : key.provider;
    if (caller.keyIds?.includes(key.id) === false || caller.providers?.includes(name) === false) continue;
    if (key.provider === 'custom' || providers.get(name)?.dialect === 'openai') names.add(name);
  }
  return [...names];
}
