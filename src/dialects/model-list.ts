import { isObject, parseJson } from './dialect.ts';

/** A model as its provider lists it. */
export interface ListedModel {
  readonly id: string;
  /** Seconds since the epoch. */
  readonly created: number | null;
  readonly ownedBy: string | null;
  /** Tokens. */
  readonly contextLength: number | null;
}

const maxModels = 5000;

/**
 * A list of OpenAI's dialect: `{"data":[…]}`, or the array alone (Together). Names that no call could ask by are left out.
 *
 * @returns null: the answer is no such list.
 */
export function readModelList(body: Buffer): readonly ListedModel[] | null {
  const answer = parseJson(body.toString('utf8'));
  const data = isObject(answer) ? answer['data'] : answer;
  if (!Array.isArray(data)) return null;
  const models = new Map<string, ListedModel>();
  for (const entry of data.slice(0, maxModels)) {
    const model = isObject(entry) ? readModel(entry) : null;
    if (model !== null) models.set(model.id, model);
  }
  return [...models.values()];
}

/** Each provider has a name of its own for the context: Groq, vLLM, Mistral, OpenRouter and Together. */
const contextNames = ['context_window', 'max_model_len', 'max_context_length', 'context_length'] as const;

function readModel(entry: Readonly<Record<string, unknown>>): ListedModel | null {
  const { id, created, owned_by: ownedBy } = entry;
  if (!isName(id)) return null;
  const context = contextNames.map((name) => entry[name]).find(isCount);
  return {
    id,
    created: isCount(created) ? created : null,
    ownedBy: isName(ownedBy) ? ownedBy : null,
    contextLength: context ?? null,
  };
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && /^[\x21-\x7e]{1,200}$/.test(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
