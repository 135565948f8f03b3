/**
 * JSON (RFC 8259) read as bytes, for text that holds a secret: `JSON.parse` would make a string of it, and strings cannot be wiped.
 * Offsets only; nothing of the text gets into an error.
 */
export class JsonBytesError extends Error {
  override readonly name = 'JsonBytesError';
}

/** One member of an object. Offsets of whole tokens, `end` exclusive; strings with their quotes. */
export interface Member {
  readonly keyStart: number;
  readonly keyEnd: number;
  readonly start: number;
  readonly end: number;
}

const [quote, backslash, comma, colon] = [0x22, 0x5c, 0x2c, 0x3a];
const [openBrace, closeBrace, openBracket, closeBracket] = [0x7b, 0x7d, 0x5b, 0x5d];
const maxDepth = 64;
const escapes: ReadonlyMap<number, number> = new Map(
  Array.from('"\\/bfnrt', (letter, index) => [letter.charCodeAt(0), '"\\/\b\f\n\r\t'.charCodeAt(index)]),
);

/**
 * The members of the one object that `source` is; the whole text is checked, nested values up to 64 deep.
 *
 * @throws {JsonBytesError}
 */
export function scanObject(source: Uint8Array): readonly Member[] {
  const start = skipSpace(source, 0);
  if (source[start] !== openBrace) throw new JsonBytesError('not an object');
  const members: Member[] = [];
  const end = skipObject(source, start, 1, members);
  if (skipSpace(source, end) !== source.length) throw new JsonBytesError('something follows the object');
  return members;
}

/**
 * The string token at `start`, unescaped to bytes.
 *
 * @param into  of at least `end - start - 2` bytes; a character that is not ASCII becomes its UTF-8 bytes when it stands there
 *   raw, and one byte 0xFF when it is escaped.
 * @returns bytes written.
 */
export function unescapeString(
  source: Uint8Array,
  start: number,
  end: number,
  into: Uint8Array,
  offset = 0,
): number {
  let to = offset;
  for (let at = start + 1; at < end - 1; at += 1) {
    let byte = source[at] as number;
    if (byte === backslash) {
      at += 1;
      const letter = source[at] as number;
      if (letter === 0x75) {
        const code = hexAt(source, at + 1);
        byte = code < 0x80 ? code : 0xff;
        at += 4;
      } else {
        byte = escapes.get(letter) as number;
      }
    }
    into[to] = byte;
    to += 1;
  }
  return to - offset;
}

/** Is the string token, unescaped, this ASCII text? Compares bytes; makes no string. */
export function isString(source: Uint8Array, start: number, end: number, text: string): boolean {
  const room = end - start - 2;
  // Six bytes (\u0041) make at most one, and one byte never makes two.
  if (room < text.length || room > text.length * 6) return false;
  // Of the same length only without escapes: the usual case, which then takes no memory.
  if (room === text.length) {
    for (let i = 0; i < room; i += 1) if (source[start + 1 + i] !== text.charCodeAt(i)) return false;
    return true;
  }
  const bytes = new Uint8Array(room);
  const length = unescapeString(source, start, end, bytes);
  if (length !== text.length) return false;
  for (let i = 0; i < length; i += 1) if (bytes[i] !== text.charCodeAt(i)) return false;
  return true;
}

export function isStringToken(source: Uint8Array, start: number): boolean {
  return source[start] === quote;
}

function skipValue(source: Uint8Array, at: number, depth: number): number {
  if (depth > maxDepth) throw new JsonBytesError('nested too deep');
  const byte = source[at];
  if (byte === quote) return skipString(source, at);
  if (byte === openBrace) return skipObject(source, at, depth, null);
  if (byte === openBracket) return skipArray(source, at, depth);
  return skipScalar(source, at);
}

function skipObject(source: Uint8Array, start: number, depth: number, members: Member[] | null): number {
  let at = skipSpace(source, start + 1);
  if (source[at] === closeBrace) return at + 1;
  for (;;) {
    const keyStart = at;
    if (source[at] !== quote) throw new JsonBytesError('a name was expected');
    const keyEnd = skipString(source, at);
    at = skipSpace(source, keyEnd);
    if (source[at] !== colon) throw new JsonBytesError('a colon was expected');
    const valueStart = skipSpace(source, at + 1);
    const end = skipValue(source, valueStart, depth + 1);
    members?.push({ keyStart, keyEnd, start: valueStart, end });
    at = skipSpace(source, end);
    if (source[at] === closeBrace) return at + 1;
    if (source[at] !== comma) throw new JsonBytesError('a comma or brace was expected');
    at = skipSpace(source, at + 1);
  }
}

function skipArray(source: Uint8Array, start: number, depth: number): number {
  let at = skipSpace(source, start + 1);
  if (source[at] === closeBracket) return at + 1;
  for (;;) {
    at = skipSpace(source, skipValue(source, at, depth + 1));
    if (source[at] === closeBracket) return at + 1;
    if (source[at] !== comma) throw new JsonBytesError('a comma or bracket was expected');
    at = skipSpace(source, at + 1);
  }
}

function skipString(source: Uint8Array, start: number): number {
  for (let at = start + 1; at < source.length; at += 1) {
    const byte = source[at] as number;
    if (byte === quote) return at + 1;
    if (byte < 0x20) throw new JsonBytesError('a control character in a string');
    if (byte !== backslash) continue;
    at += 1;
    const letter = source[at];
    if (letter === 0x75) {
      hexAt(source, at + 1);
      at += 4;
    } else if (letter === undefined || !escapes.has(letter)) {
      throw new JsonBytesError('an unknown escape');
    }
  }
  throw new JsonBytesError('a string does not end');
}

/** A number or literal: short enough to be looked at as text, and never a secret. */
function skipScalar(source: Uint8Array, start: number): number {
  let end = start;
  while (end < source.length && isScalarByte(source[end] as number)) end += 1;
  if (end - start > 64) throw new JsonBytesError('a number is too long');
  const text = String.fromCharCode(...source.subarray(start, end));
  if (!/^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/.test(text)) {
    throw new JsonBytesError('not a value');
  }
  return end;
}

/** Letters, digits, `+`, `-` and `.`. */
function isScalarByte(byte: number): boolean {
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    (byte >= 0x41 && byte <= 0x5a) ||
    (byte >= 0x61 && byte <= 0x7a) ||
    byte === 0x2b ||
    byte === 0x2d ||
    byte === 0x2e
  );
}

function skipSpace(source: Uint8Array, start: number): number {
  let at = start;
  while (source[at] === 0x20 || source[at] === 0x09 || source[at] === 0x0a || source[at] === 0x0d) at += 1;
  return at;
}

function hexAt(source: Uint8Array, start: number): number {
  let code = 0;
  for (let at = start; at < start + 4; at += 1) {
    const byte = source[at] ?? 0;
    const digit =
      byte >= 0x30 && byte <= 0x39
        ? byte - 0x30
        : (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66
          ? (byte | 0x20) - 0x57
          : -1;
    if (digit < 0) throw new JsonBytesError('an escape without four hex digits');
    code = code * 16 + digit;
  }
  return code;
}
