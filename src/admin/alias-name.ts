import { SallyportError } from '../errors.ts';
import { invalid } from './moment.ts';

/** What an alias may stand for: the providers that the gateway knows, and the custom names of the workspace's keys. */
export interface Named {
  readonly providers: ReadonlyMap<string, { servesBareModel(model: string): boolean }>;
  readonly customs: ReadonlySet<string>;
}

/**
 * An alias is looked up before anything else: one under a provider's name would take over calls that name that provider. Its `*`
 * stands for no slash unless one stands before it, so that none takes over `provider/…` by being wide.
 *
 * @throws {SallyportError} REQUEST_INVALID
 */
export function checkAlias({ providers, customs }: Named, alias: string): void {
  if (starsIn(alias) > 1) throw invalid('/alias', 'has more than one *');
  const slash = alias.indexOf('/');
  if (slash < 0) return;
  const first = alias.slice(0, slash);
  if (first === '' || first.includes('*'))
    throw invalid('/alias', 'needs a name before its first slash, without a *');
  if (providers.has(first) || customs.has(first))
    throw invalid('/alias', 'begins with the name of a provider, whose models it would take over');
}

/** @throws {SallyportError} REQUEST_INVALID: nobody serves it, or it has a `*` that the alias has no text for. */
export function checkAliasTarget({ providers, customs }: Named, alias: string, target: string): void {
  if (starsIn(target) > starsIn(alias)) throw invalid('/target', 'has a * that the alias has no text for');
  if (target === alias) throw invalid('/target', 'is the alias itself');
  const slash = target.indexOf('/');
  const first = target.slice(0, Math.max(slash, 0));
  if (slash > 0 && slash < target.length - 1) {
    if ((first !== 'custom' && providers.has(first)) || customs.has(first)) return;
  }
  const isBare = [...providers.values()].some((provider) => provider.servesBareModel(target));
  if (isBare) return;
  throw new SallyportError('REQUEST_INVALID', 'target names no model of a provider that is known here.', {
    fix: 'Write the provider before it: openai/gpt-4o-mini, or the name of a stored custom key: ollama/qwen3.',
    errors: [{ path: '/target', message: 'names no model of a provider that is known here' }],
  });
}

function starsIn(text: string): number {
  return text.split('*').length - 1;
}
