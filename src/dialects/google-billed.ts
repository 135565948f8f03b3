import { type Billed, termAt, termsOf } from './billed.ts';
import { isObject, type JsonObject, objectAt, objectsAt } from './dialect.ts';
import { countAt } from './usage.ts';

/**
 * What Gemini tells beside the counts of `Usage`: how many tokens of each kind (ai.google.dev, ModalityTokenCount), the service tier, and
 * what it searched for. Documents are read as pictures and priced as such.
 */
export function readGoogleBilled(answer: JsonObject, usage: JsonObject | null): Billed {
  const searches = searchesOf(answer);
  return {
    ...(usage === null ? {} : parts(usage)),
    ...(searches === 0 ? {} : { webSearches: searches }),
    ...termsOf([tierOf(usage)]),
  };
}

function parts(usage: JsonObject): Billed {
  const input = [
    ...objectsAt(usage, 'promptTokensDetails'),
    ...objectsAt(usage, 'toolUsePromptTokensDetails'),
  ];
  const cached = objectsAt(usage, 'cacheTokensDetails');
  const output = objectsAt(usage, 'candidatesTokensDetails');
  return {
    ...(input.length === 0
      ? {}
      : {
          audioInputTokens: of(input, 'AUDIO'),
          imageInputTokens: of(input, 'IMAGE') + of(input, 'DOCUMENT'),
          videoInputTokens: of(input, 'VIDEO'),
        }),
    ...(cached.length === 0
      ? {}
      : {
          cachedAudioInputTokens: of(cached, 'AUDIO'),
          cachedImageInputTokens: of(cached, 'IMAGE') + of(cached, 'DOCUMENT'),
          cachedVideoInputTokens: of(cached, 'VIDEO'),
        }),
    ...(output.length === 0
      ? {}
      : {
          audioOutputTokens: of(output, 'AUDIO'),
          imageOutputTokens: of(output, 'IMAGE') + of(output, 'DOCUMENT'),
          videoOutputTokens: of(output, 'VIDEO'),
        }),
  };
}

function of(details: readonly JsonObject[], modality: string): number {
  return details
    .filter((detail) => detail['modality'] === modality)
    .reduce((total, detail) => total + (countAt(detail, 'tokenCount') ?? 0), 0);
}

/** Searches of the web, of pictures and of maps are charged for by the query or by the answer, depending on the model. */
function searchesOf(answer: JsonObject): number {
  let searches = 0;
  for (const candidate of objectsAt(answer, 'candidates')) {
    const grounding = objectAt(candidate, 'groundingMetadata');
    const queries = lengthAt(grounding, 'webSearchQueries') + lengthAt(grounding, 'imageSearchQueries');
    const isOfMaps = objectsAt(grounding, 'groundingChunks').some((chunk) => isObject(chunk['maps']));
    searches += queries === 0 && isOfMaps ? 1 : queries;
  }
  return searches;
}

function lengthAt(value: JsonObject, name: string): number {
  const list = value[name];
  return Array.isArray(list) ? list.length : 0;
}

const listTiers: ReadonlySet<string> = new Set(['standard', 'unspecified']);

function tierOf(usage: JsonObject | null): string | null {
  return termAt(usage?.['serviceTier'], listTiers);
}
