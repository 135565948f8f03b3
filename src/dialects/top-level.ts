import { isUtf8 } from 'node:buffer';
import { SallyportError } from '../errors.ts';
import {
  EARLY,
  END,
  ESCAPED_KEY,
  JsonScan,
  KEY,
  PROTO,
  TOO_DEEP,
  VALUE,
  WITHIN_STRING,
} from './json-scan.ts';

/** Byte offsets of a JSON value within its body; `end` is exclusive. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

export interface TopLevel {
  /** The wanted fields that are there. No prototype: a field may be called anything. */
  readonly values: Readonly<Record<string, Span>>;
  /** Offset of the opening brace. */
  readonly open: number;
  readonly isEmpty: boolean;
}

export interface Edit extends Span {
  readonly bytes: Buffer;
}

/** RFC 8259, 9 lets a parser limit depth; no SDK comes near 512. */
const maxDepth = 512;

/**
 * Finds top-level fields of a JSON object by their bytes, and checks the whole of it by RFC 8259 on the way. JSON.parse would
 * build 64 MiB of objects out of a body that is only relayed, and keeps the last of two equal names where a provider may keep
 * the first: a caller could show the gateway one model and the provider another.
 *
 * @param wanted Names to find: at most a few, of at most 64 bytes.
 * @throws {SallyportError} REQUEST_INVALID: not UTF-8, not JSON, not an object, deeper than 512, a wanted field stands
 * twice, also if one of the two is written with escapes, or a field is called `__proto__`, at whatever depth: no API has one, and a
 * program that merges what it is sent changes all its objects by it.
 */
export function readTopLevel(body: Buffer, wanted: readonly string[]): TopLevel {
  if (!isUtf8(body)) throw invalid('The body is not UTF-8.');
  const values = Object.create(null) as Record<string, Span>;
  const open = skipSpace(body);
  if (body[open] !== 0x7b) throw invalid('The body is not a JSON object.');
  const scan = new JsonScan(body, open + 1, maxDepth);
  let field: string | null = null;
  let isEmpty = true;
  for (;;) {
    const stop = scan.next(field !== null);
    if (stop === END) return { values, open, isEmpty };
    const { from, at } = scan;
    if (stop === VALUE) {
      values[field as string] = { start: from, end: at };
      field = null;
    } else if (stop === KEY || stop === ESCAPED_KEY) {
      if (scan.isEscaped && isProto(body, from, at)) throw polluting();
      if (stop === ESCAPED_KEY) continue;
      isEmpty = false;
      field = nameOf(body, from, at, scan.isEscaped, wanted);
      if (field !== null && values[field] !== undefined) throw twice(field);
    } else throw fault(stop, at);
  }
}

/**
 * A copy of `body` with spans replaced; an insertion is a span of no bytes. Edits may come in any order, must not overlap.
 *
 * @returns memory of its own, which can be given back (memory.ts); `body` itself without edits
 */
export function splice(body: Buffer, edits: readonly Edit[]): Buffer {
  if (edits.length === 0) return body;
  const parts: Buffer[] = [];
  let at = 0;
  for (const edit of edits.toSorted((a, b) => a.start - b.start)) {
    if (edit.start < at || edit.end < edit.start || edit.end > body.length)
      throw new RangeError('edits overlap');
    parts.push(body.subarray(at, edit.start), edit.bytes);
    at = edit.end;
  }
  parts.push(body.subarray(at));
  const spliced = Buffer.allocUnsafeSlow(parts.reduce((sum, part) => sum + part.length, 0));
  let end = 0;
  for (const part of parts) end += part.copy(spliced, end);
  return spliced;
}

export function skipSpace(body: Buffer): number {
  let at = 0;
  while (at < body.length && isSpace(body[at] as number)) at += 1;
  return at;
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** A name with escapes is at most six times as long as what it spells. */
const maxNameBytes = 6 * 64;

/** @param start of the name's opening quote @param end behind its closing one @returns null: none that is wanted */
function nameOf(
  body: Buffer,
  start: number,
  end: number,
  isEscaped: boolean,
  wanted: readonly string[],
): string | null {
  if (end - start > maxNameBytes) return null;
  const name = isEscaped
    ? (JSON.parse(body.toString('utf8', start, end)) as string)
    : body.toString('utf8', start + 1, end - 1);
  return wanted.includes(name) ? name : null;
}

/** Of a name with escapes. */
function isProto(body: Buffer, start: number, end: number): boolean {
  return end - start <= 2 + 6 * 9 && JSON.parse(body.toString('utf8', start, end)) === '__proto__';
}

function fault(stop: number, at: number): SallyportError {
  switch (stop) {
    case PROTO:
      return polluting();
    case EARLY:
      return invalid('The JSON body ends too early.');
    case WITHIN_STRING:
      return invalid('The JSON body ends within a string.');
    case TOO_DEEP:
      return invalid(`The JSON body is nested deeper than ${maxDepth}.`);
    default:
      return invalid(`The body is not valid JSON (byte ${at}).`);
  }
}

function polluting(): SallyportError {
  return invalid('A field of the JSON body is called __proto__.');
}

function twice(field: string): SallyportError {
  return invalid(`The field "${field}" stands twice in the body.`);
}

function invalid(message: string): SallyportError {
  return new SallyportError('REQUEST_INVALID', message);
}
