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
  const { labels, sorted } = orderOf(Object.keys(value));
  let text = '{';
  for (let i = 0; i < sorted.length; i += 1)
    text += (labels[i] as string) + canonicalize(value[sorted[i] as string] as JsonValue, depth);
  return `${text}}`;
}

/** The members of an object in their order, with what is written before each value (`,"name":`). */
interface Order {
  readonly names: readonly string[];
  readonly sorted: readonly string[];
  readonly labels: readonly string[];
}

/**
 * The last few orders, by the number of members: a provider counts in the same objects each time, and to sort and quote their names anew
 * took 0.8 µs a call. What is large is not kept.
 */
const orders: Order[][] = Array.from({ length: 17 }, () => []);
const [keptOrders, keptLength] = [4, 500];

function orderOf(names: readonly string[]): Order {
  const known = orders[names.length];
  if (known !== undefined) for (const order of known) if (isSame(order.names, names)) return order;
  // The default order of sort() is by UTF-16 code units, which is the RFC's.
  const sorted = names.toSorted();
  const labels = sorted.map((name, i) => `${i === 0 ? '' : ','}${quote(name)}:`);
  const order = { names, sorted, labels };
  if (known !== undefined && names.reduce((sum, name) => sum + name.length, 0) <= keptLength) {
    if (known.length === keptOrders) known.shift();
    known.push(order);
  }
  return order;
}

export function isSame(left: readonly string[], right: readonly string[]): boolean {
  if (left.length !== right.length) return false;
  for (let i = 0; i < left.length; i += 1) if (left[i] !== right[i]) return false;
  return true;
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
