import { SallyportError } from '../errors.ts';
import { matches } from '../name-pattern.ts';
import { nearName } from '../near-name.ts';
import type { Provider } from '../providers/provider.ts';
import { quoted } from './quoted.ts';
import type { CallerSnapshot } from './snapshot.ts';

export interface KnownModels {
  readonly providers: ReadonlyMap<string, Provider>;
  /** `provider/model` of what the caller's providers have said that they serve; lately, and as far as it was asked for. */
  readonly listed: (caller: CallerSnapshot) => readonly string[];
}

/** Says what this token may ask for on /v1, and nothing of what others may. */
export function unknownModel(known: KnownModels, caller: CallerSnapshot, model: string): SallyportError {
  const near = nearModel(known, caller, model);
  const what = `No provider is known for the model ${quoted(model)}${
    near === null ? '.' : `; did you mean ${quoted(near)}?`
  }`;
  const { models } = caller;
  if (models !== null) {
    const choices = models.join(', ') || 'no model';
    return new SallyportError('MODEL_UNKNOWN', `${what} This token may use ${choices}.`, {
      fix: 'Use a model that the token allows, or have the token changed.',
    });
  }
  const customs = caller.keys.filter((key) => key.provider === 'custom').map((key) => key.name);
  const providers = [...known.providers.values()]
    .filter(({ name, dialect }) => name !== 'custom' && dialect === 'openai')
    .map(({ name }) => name);
  const choices = [...new Set([...providers, ...customs])]
    .filter((name) => caller.providers?.includes(name) ?? true)
    .map((name) => `${name}/…`);
  if (choices.length === 0) {
    return new SallyportError('MODEL_UNKNOWN', `${what} This token may use no provider that /v1 serves.`, {
      fix: `Use the base URL of a provider that it allows: ${caller.providers?.join(', ') ?? ''}.`,
    });
  }
  const bare = caller.providers === null ? ', or by a bare name such as gpt-4o or grok-4' : '';
  return new SallyportError('MODEL_UNKNOWN', `${what} On /v1 name it as ${choices.join(', ')}${bare}.`, {
    fix: near === null ? 'Name the provider before the model.' : `Ask for ${quoted(near)}.`,
  });
}

/** Distances are counted for at most so many names: each takes up to 4096 steps. */
const mostCompared = 400;

/**
 * The name that was probably meant: one that lacks its provider alone, else the nearest of aliases, listed and known models that the
 * token may ask for.
 */
export function nearModel(
  { providers, listed }: KnownModels,
  caller: CallerSnapshot,
  model: string,
): string | null {
  const mayAsk = (name: string): boolean =>
    caller.models === null || caller.models.some((pattern) => matches(pattern, name));
  const mayUse = (name: string): boolean => caller.providers?.includes(name) ?? true;
  const held = new Set(caller.keys.map(({ provider }) => provider));
  const names = new Set([
    ...caller.aliases.map(({ alias }) => alias).filter((alias) => !alias.includes('*')),
    ...listed(caller),
    ...[...providers.values()]
      .filter(({ name, dialect }) => dialect === 'openai' && held.has(name) && mayUse(name))
      .flatMap(({ name, knownModels }) => [...knownModels].map((one) => `${name}/${one}`)),
  ]);
  // We may know a name that the caller's account does not have.
  const candidates = [...names].filter((name) => name !== model && mayAsk(name));
  const whole = candidates.find((name) => name.endsWith(`/${model}`));
  if (whole !== undefined) return whole;
  const bare = (name: string): string => name.slice(name.indexOf('/') + 1);
  // A typing error keeps most of a name's length.
  const compared = candidates.filter(
    (name) => Math.abs(name.length - model.length) <= 3 || Math.abs(bare(name).length - model.length) <= 3,
  );
  const some = compared.slice(0, mostCompared);
  const near = nearName(model, [...some, ...some.map(bare)]);
  if (near === null) return null;
  return some.find((name) => name === near) ?? some.find((name) => bare(name) === near) ?? null;
}
