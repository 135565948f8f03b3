import { isUtf8 } from 'node:buffer';
import { SallyportError } from '../errors.ts';
import type { Span } from './top-level.ts';

/** The field `model` of a form (`multipart/form-data`, RFC 7578), by its bytes. */
export interface FormModel {
  readonly model: string;
  readonly span: Span;
}

/** As the model of a JSON body. */
const maxModelBytes = 1024;
const maxHeaderBytes = 8 * 1024;
const crlf = Buffer.from('\r\n');
const headersEnd = Buffer.from('\r\n\r\n');
const fileName = Symbol('a file');

/** Whether a body is said to be such a form. */
export function isForm(contentType: string | undefined): boolean {
  return /^multipart\/form-data(?:[;\s]|$)/i.test(contentType ?? '');
}

/**
 * Finds the field `model` of a form. Who reads it at the provider may be more lenient than we are, and may find another model than we
 * did: so whatever two readers could take differently is refused rather than read (line ends without \r, text before the first
 * boundary, folded headers, names written in two ways, a second `model`).
 *
 * @param bytes The form, or its first bytes.
 * @param isWhole Nothing follows them. Otherwise a field that is cut off by their end is not found.
 * @returns null where there is none.
 * @throws {SallyportError} REQUEST_INVALID
 */
export function readFormModel(contentType: string, bytes: Buffer, isWhole: boolean): FormModel | null {
  const delimiter = Buffer.from(`--${boundaryOf(contentType)}`);
  let found: FormModel | null = null;
  let at = bytes.indexOf(delimiter);
  if (at < 0 && !isWhole && delimiter.subarray(0, bytes.length).equals(bytes)) return null;
  if (at !== 0) throw invalid('does not begin with its boundary');
  while (at >= 0) {
    const after = at + delimiter.length;
    const isLast = startsWith(bytes, after, '--');
    if (!isLast && !startsWith(bytes, after, '\r\n')) {
      if (!isWhole && bytes.length - after < 2) return found;
      throw invalid('has a boundary that does not end its line');
    }
    const next = bytes.indexOf(delimiter, after);
    if (isLast) {
      if (next >= 0) throw invalid('goes on after its end');
      return found;
    }
    const isCut = next < 0;
    if (isCut && isWhole) throw invalid('ends without its boundary');
    if (!isCut && !startsWith(bytes, next - 2, '\r\n'))
      throw invalid('has a boundary that does not begin its line');
    const part = readPart(bytes, after, isCut ? bytes.length : next - 2, isCut);
    if (part !== null) {
      if (found !== null) throw invalid('has the field "model" twice');
      found = part;
    }
    at = next;
  }
  return found;
}

/** @param from where the boundary's line ends. @returns the model, where the part is that field and is whole. */
function readPart(bytes: Buffer, from: number, end: number, isCut: boolean): FormModel | null {
  const headerEnd = bytes.subarray(from, end).indexOf(headersEnd);
  if (headerEnd < 0 && isCut && end - from <= maxHeaderBytes) return null;
  if (headerEnd < 0 || headerEnd > maxHeaderBytes) throw invalid('has a part whose headers do not end');
  const header = bytes.toString('latin1', from + crlf.length, from + Math.max(headerEnd, crlf.length));
  const headers = readHeaders(header);
  const name = nameOf(headers.get('content-disposition'));
  if (name === fileName) throw invalid('has a file in the place of the field "model"');
  if (name !== 'model') return null;
  checkPlain(headers);
  const start = from + headerEnd + headersEnd.length;
  if (isCut) return null;
  const value = bytes.subarray(start, end);
  if (value.length > maxModelBytes) throw invalid(`has a "model" of more than ${maxModelBytes} bytes`);
  if (!isUtf8(value) || value.some((byte) => byte < 0x20 || byte === 0x7f))
    throw invalid('has a "model" that is no line of text');
  return { model: value.toString('utf8'), span: { start, end } };
}

function readHeaders(text: string): ReadonlyMap<string, string> {
  const headers = new Map<string, string>();
  if (text === '') return headers;
  for (const line of text.split('\r\n')) {
    const [, name = '', value = ''] = /^([\w!#$%&'*+.^`|~-]+):[ \t]*([^\r\n\0]*)$/.exec(line) ?? [];
    if (name === '') throw invalid('has a part with a header that is none');
    if (headers.has(name.toLowerCase())) throw invalid('has a part with a header that stands twice');
    headers.set(name.toLowerCase(), value);
  }
  return headers;
}

/** The field's name, null without one; `fileName` for a file that is called `model`. */
function nameOf(disposition: string | undefined): string | null | typeof fileName {
  if (disposition === undefined) return null;
  const parameters = readParameters(disposition);
  const name = parameters.get('name') ?? null;
  if (parameters.has('name*') || (name !== 'model' && name !== null && isModelInDisguise(name)))
    throw invalid('has a name that is written in another form than others read');
  return name === 'model' && (parameters.has('filename') || parameters.has('filename*')) ? fileName : name;
}

/** `form-data; name="a"; filename=b` (RFC 2183, 2). */
function readParameters(disposition: string): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>();
  const [, start = ''] =
    /^form-data[ \t]*(;.*)?$/is.exec(disposition) ?? invalidly('a part that is no field');
  const parameter = /;[ \t]*([\w*-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s";]*))[ \t]*/y;
  for (let at = 0; at < start.length; at = parameter.lastIndex) {
    parameter.lastIndex = at;
    const match = parameter.exec(start) ?? trailing(start, at);
    if (match === null) break;
    const [, name = '', quoted, plain = ''] = match;
    if (parameters.has(name.toLowerCase())) throw invalid('has a parameter that stands twice');
    parameters.set(name.toLowerCase(), quoted ?? plain);
  }
  return parameters;
}

/** A semicolon at the end is harmless; anything else is not understood. */
function trailing(text: string, from: number): null {
  if (/^;?[ \t]*$/.test(text.slice(from))) return null;
  throw invalid('has a part whose name cannot be read');
}

/** A reader that undoes escapes, trims, or takes capitals for small letters, would find a second `model`. */
function isModelInDisguise(name: string): boolean {
  const undone = name
    .replaceAll(/\\(.)/g, '$1')
    .replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return undone.trim().toLowerCase() === 'model';
}

/** What is encoded reads as one text here and as another there. */
function checkPlain(headers: ReadonlyMap<string, string>): void {
  const encoding = headers.get('content-transfer-encoding') ?? '8bit';
  const type = headers.get('content-type') ?? 'text/plain';
  const isPlain =
    /^(?:7bit|8bit|binary)$/i.test(encoding.trim()) &&
    /^text\/plain[ \t]*(?:;[ \t]*charset[ \t]*=[ \t]*"?(?:utf-8|us-ascii)"?[ \t]*)?$/i.test(type.trim());
  if (!isPlain) throw invalid('has a "model" in an encoding');
}

/** RFC 2046, 5.1.1: 1 to 70 characters of a small alphabet, in quotes or not. */
function boundaryOf(contentType: string): string {
  const all = [...contentType.matchAll(/;[ \t]*boundary[ \t]*(\*?\d*\*?)[ \t]*=/gi)];
  const match =
    /;[ \t]*boundary=(?:"([\w'()+,./:=? -]{0,69}[\w'()+,./:=?-])"|([\w'+.:-]{1,70}))[ \t]*(?:;|$)/i.exec(
      contentType,
    );
  const boundary = match?.[1] ?? match?.[2];
  if (all.length !== 1 || boundary === undefined) throw invalid('names no boundary, or not one alone');
  return boundary;
}

function startsWith(bytes: Buffer, at: number, text: string): boolean {
  return at >= 0 && bytes.toString('latin1', at, at + text.length) === text;
}

function invalidly(what: string): never {
  throw invalid(`has ${what}`);
}

function invalid(what: string): SallyportError {
  return new SallyportError('REQUEST_INVALID', `The form ${what}.`, {
    fix: 'Send it as multipart/form-data of RFC 7578, as the SDKs do.',
  });
}
