/** A JSON string; the second group where it is the name of a member whose value is a string too. No part of it can match in two ways. */
const strings = /"((?:[^"\\]|\\.)*)"(\s*:\s*(?="))?/gs;

/**
 * The models that a client's message names: the string members called `model`, at any depth, also where one stands twice or is written
 * with escapes. Sessions are told by their messages what they run (`session.update`, `response.create`, Gemini's `setup`).
 *
 * @returns null where the message cannot be read: a name that is no JSON string, or UTF-16, which some parsers take for JSON.
 */
export function modelsInMessage(message: Buffer): string[] | null {
  if (message.includes(0)) return null;
  const models: string[] = [];
  let isModel = false;
  for (const [, raw = '', colon] of message.toString('utf8').matchAll(strings)) {
    if (isModel) {
      const model = spelled(raw);
      if (model === null) return null;
      models.push(model);
    }
    // A name with escapes is at most six times as long as what it spells.
    isModel = colon !== undefined && raw.length <= 30 && spelled(raw) === 'model';
  }
  return models;
}

function spelled(raw: string): string | null {
  if (!raw.includes('\\')) return raw;
  try {
    return JSON.parse(`"${raw}"`) as string;
  } catch {
    return null;
  }
}
