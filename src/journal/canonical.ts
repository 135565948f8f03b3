export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [member: string]: JsonValue };

/** Deeper values are refused: a provider chooses the depth of `providerUsage`, and recursion would end on the stack. */
const maxDepth = 64;

/** Nothing to escape and no half of a surrogate pair: most strings of a record, quoted without a call. */
// oxlint-disable-next-line no-control-regex -- the control characters are the point
const plain = /^[^"\\\u0000-\u001f\ud800-\udfff]*$/;

/**
 * JSON in the one form of RFC 8785: members sorted by UTF-16 code units, numbers and strings as ECMAScript writes them
 * (3.2.2), no white space.
 *
 * Differs in one point: half a surrogate pair becomes U+FFFD where the RFC asks for an error. A client chooses the model
 * name, and no client may make a record impossible to write.
 *
 * @throws {TypeError} for NaN, infinities, bigint, undefined, functions, and values nested deeper than 64.
 */
export function canonicalize(value: JsonValue, depth = 0): string {
  switch (typeof value) {
    case 'string':
      return quote(value);
    case 'number':
      if (!Number.isFinite(value)) throw new TypeError('a number that JSON does not have');
      // `String(-0)` is "0", as RFC 8785 wants.
      return String(value);
    case 'boolean':
      return value ? 'true' : 'false';
    case 'object':
      return value === null ? 'null' : compound(value, depth + 1);
    default:
      throw new TypeError(`a value that JSON does not have: ${typeof value}`);
  }
}

function compound(value: Exclude<JsonValue, string | number | boolean | null>, depth: number): string {
  if (depth > maxDepth) throw new TypeError(`nested deeper than ${maxDepth}`);
  if (isArray(value)) {
    let text = '[';
    for (let i = 0; i < value.length; i += 1) {
      text += (i === 0 ? '' : ',') + canonicalize(value[i] as JsonValue, depth);
    }
    return `${text}]`;
  }
  // The default order of sort() is by UTF-16 code units, which is the RFC's.
  // oxlint-disable-next-line unicorn/no-array-sort -- the array is ours, a copy would only cost
  const members = Object.keys(value).sort();
  let text = '{';
  for (let i = 0; i < members.length; i += 1) {
    const name = members[i] as string;
    text += `${i === 0 ? '' : ','}${quote(name)}:${canonicalize(value[name] as JsonValue, depth)}`;
  }
  return `${text}}`;
}

/**
 * Is this text, of which `value` was parsed, in the canonical form? Where its members are in order, what the engine writes is the
 * canonical form, at a fifth of the cost.
 */
export function isCanonical(text: string, value: JsonValue): boolean {
  try {
    // An escaped half of a pair is the one text that the engine writes and we do not.
    if (!text.includes('\\ud') && JSON.stringify(value) === text && isSorted(value)) return true;
    return canonicalize(value) === text;
  } catch {
    // Nested too deep, or a number that is none: no record of ours.
    return false;
  }
}

function isSorted(value: JsonValue): boolean {
  if (typeof value !== 'object' || value === null) return true;
  if (isArray(value)) return value.every(isSorted);
  let before = '';
  for (const name of Object.keys(value)) {
    if (name < before) return false;
    before = name;
    const member = value[name] as JsonValue;
    if (typeof member === 'object' && !isSorted(member)) return false;
  }
  return true;
}

function isArray(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}

function quote(text: string): string {
  return plain.test(text) ? `"${text}"` : JSON.stringify(text.toWellFormed());
}
