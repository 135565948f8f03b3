import anthropic from './anthropic.ts';
import custom from './custom.ts';
import google from './google.ts';
import groq from './groq.ts';
import { beginsWith } from './key-shape.ts';
import openai from './openai.ts';
import type { Provider } from './provider.ts';
import xai from './xai.ts';

/** All providers by name. Explicit imports, so that types and dead code are seen; a test compares them with the folder. */
export const providers: ReadonlyMap<string, Provider> = new Map(
  [openai, anthropic, google, groq, xai, custom].map((provider) => [provider.name, provider]),
);

const isAdministrativeShape = beginsWith(
  [...providers.values()].flatMap(({ administrativeStarts }) => administrativeStarts),
);

/**
 * Does this value give power over a provider's account? Whichever of the known providers it was stored for: a mix-up is no way out.
 * Behind a custom origin such a shape means nothing.
 */
export function isAdministrative(provider: string, secret: Buffer): boolean {
  return provider !== 'custom' && isAdministrativeShape(secret);
}

/** The metrics' label of a model: a known name, else `other`, so that callers can't make series. */
export function modelLabel(provider: Provider, model: string | null): string {
  const name = model?.startsWith('models/') === true ? model.slice('models/'.length) : model;
  return name !== null && provider.knownModels.has(name) ? name : 'other';
}
