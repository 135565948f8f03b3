/** The wire form of a route: which SDKs speak it, and how errors look in it. */
export type Dialect = 'openai' | 'anthropic' | 'google';

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;

export interface JsonObject {
  readonly [name: string]: JsonValue | undefined;
}

export function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The member when it is an object, else an empty one: providers leave out what they don't know. */
export function objectAt(value: JsonObject, name: string): JsonObject {
  const member = value[name];
  return isObject(member) ? member : {};
}

/** The member's objects when it is an array, else none. */
export function objectsAt(value: JsonObject, name: string): readonly JsonObject[] {
  const member = value[name];
  return Array.isArray(member) ? member.filter((item: JsonValue) => isObject(item)) : [];
}

/** Text as a JSON value, or undefined. V8's parser is iterative: depth costs memory of the text's size, not stack. */
export function parseJson(text: string): JsonValue | undefined {
  try {
    return JSON.parse(text) as JsonValue;
  } catch {
    return undefined;
  }
}
