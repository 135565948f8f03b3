import anthropic from './anthropic.ts';
import custom from './custom.ts';
import google from './google.ts';
import groq from './groq.ts';
import openai from './openai.ts';
import type { Provider } from './provider.ts';
import xai from './xai.ts';

/** All providers by name. Explicit imports, so that types and dead code are seen; a test compares them with the folder. */
export const providers: ReadonlyMap<string, Provider> = new Map(
  [openai, anthropic, google, groq, xai, custom].map((provider) => [provider.name, provider]),
);

/** The metrics' label of a model: a known name, else `other`, so that callers can't make series. */
export function modelLabel(provider: Provider, model: string | null): string {
  const name = model?.startsWith('models/') === true ? model.slice('models/'.length) : model;
  return name !== null && provider.knownModels.has(name) ? name : 'other';
}
