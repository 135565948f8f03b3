import { SallyportError } from '../errors.ts';

/** A parameter of a query, its name as a router would read it; `;` separates too for some (RFC 1866, 8.2.1). */
interface Parameter {
  readonly name: string;
  readonly value: string;
  /** Offset of the value in the query. */
  readonly at: number;
}

/**
 * A session's model stands in the query; what the messages say later is looked at where the token names models.
 *
 * @param query `?…` or empty.
 * @throws {SallyportError} REQUEST_INVALID: twice, or not UTF-8.
 */
export function modelInQuery(query: string): string | null {
  const value = modelParameter(query)?.value ?? '';
  return value === '' ? null : readable(value);
}

function readable(value: string): string {
  const model = unescaped(value);
  if (model !== null) return model;
  throw new SallyportError('REQUEST_INVALID', 'The model in the query is not UTF-8.');
}

/** Every one that it names, for whoever takes the first or the last. @throws {SallyportError} REQUEST_INVALID: not UTF-8. */
export function modelsInQuery(query: string): readonly string[] {
  return parametersOf(query).flatMap(({ name, value }) =>
    name === 'model' && value !== '' ? [readable(value)] : [],
  );
}

/** The query with another model, all else byte by byte as it was. Only for one that names a model. */
export function renameInQuery(query: string, model: string): string {
  const { at, value } = modelParameter(query) as Parameter;
  return query.slice(0, at) + encodeURIComponent(model) + query.slice(at + value.length);
}

/** Attaches to a session that somebody else may have begun on the same account. */
export function joinsCall(query: string): boolean {
  return parametersOf(query).some(({ name }) => name === 'call_id');
}

function modelParameter(query: string): Parameter | null {
  const [first, second] = parametersOf(query).filter(({ name }) => name === 'model');
  if (second !== undefined)
    throw new SallyportError('REQUEST_INVALID', 'The query parameter model came twice.');
  return first ?? null;
}

function parametersOf(query: string): Parameter[] {
  return [...query.matchAll(/[?&;]([^=&;]*)(?:=([^&;]*))?/g)].map((match) => ({
    name: unescaped(match[1] as string) ?? '',
    value: match[2] ?? '',
    at: match.index + match[0].length - (match[2] ?? '').length,
  }));
}

/** `+` is a blank, as in forms. Null where it is not UTF-8. */
function unescaped(text: string): string | null {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return null;
  }
}
