import { SallyportError } from '../errors.ts';
import type { Place } from './base-url.ts';
import { choose, type Choice, type Question, type Resolver } from './model-choice.ts';
import type { CallerSnapshot } from './snapshot.ts';

const modelInPath = /\/[a-z]*[mM]odels\/[^/:%]+(?=[/:]|$)/;

/**
 * What a model that a token falls back to means for a call: read as on /v1, in the dialect of the call's own base URL.
 *
 * @param asked what the call asked for
 * @param model one of the policy's
 * @returns the choice, with the name to write into the body, and the place that its path is made from
 * @throws {SallyportError} MODEL_DIALECT, also where the call's path is only the asked provider's; what `choose` throws.
 */
export function fallbackChoice(
  resolver: Resolver,
  caller: CallerSnapshot,
  question: Question,
  asked: Choice,
  model: string,
): { readonly choice: Choice; readonly place: Place } {
  const { place } = question;
  const { dialect } = place.base;
  const unified: Place = { ...place, base: { kind: 'unified', dialect } };
  const choice = choose(resolver, caller, { ...question, model, place: unified });
  if (choice.provider.dialect !== dialect)
    throw new SallyportError('MODEL_DIALECT', `${choice.name} speaks another dialect than this call.`);
  const name = choice.upstreamModel ?? model;
  const bent = { ...choice, upstreamModel: name };
  if (question.renames === 'path') {
    // Gemini's, whose every model is one provider's; nothing in the body says which.
    // Where an escape hides the name or its end, the model asked for would run once more, on record as another.
    if (!modelInPath.test(place.rest))
      throw new SallyportError('MODEL_DIALECT', 'The path of this call has escapes where its model stands.');
    const rest = place.rest.replace(modelInPath, `/models/${encodeURIComponent(name)}`);
    return { choice: bent, place: { ...place, rest } };
  }
  if (place.base.kind === 'unified' || choice.name === asked.name) return { choice: bent, place };
  const base = asked.custom
    ? caller.keys.find((key) => key.provider === 'custom' && key.name === asked.name)?.basePath
    : asked.provider.basePath;
  const start = base === '/' ? '' : base;
  if (start === undefined || !place.rest.startsWith(`${start}/`)) {
    throw new SallyportError('MODEL_DIALECT', `${choice.name} has no such path as this call’s.`);
  }
  return { choice: bent, place: { ...unified, rest: place.rest.slice(start.length) } };
}
