import { SallyportError } from '../errors.ts';
import { secretBuffer } from '../secret.ts';
import {
  isString,
  isStringToken,
  JsonBytesError,
  scanObject,
  unescapeString,
  type Member,
} from './json-bytes.ts';

/**
 * What a record of kind 3 holds: UTF-8 JSON `{"v":1,"type","header"?,"secret"?,"origins","createdAt"}`, built and read as bytes so
 * that the secret is never a string. Padded with spaces after the closing brace to a multiple of 256 bytes: white space there means
 * nothing in JSON, so the padding cannot be taken for content, and a length tells little of the secret.
 */
export interface PayloadHead {
  /** `none`: an origin that takes no credential; there is no secret then. */
  readonly type: 'bearer' | 'header' | 'none';
  /** Lower-case header name that the secret is sent in; null for `none`. */
  readonly header: string | null;
  readonly origins: readonly string[];
  readonly createdAt: string;
}

export interface Payload extends Omit<PayloadHead, 'createdAt'> {
  /** Where the secret's token stands in the bytes; null for `none`. */
  readonly secret: Pick<Member, 'start' | 'end'> | null;
}

export const payloadStep = 256;
export const maxOrigins = 16;

/**
 * @param secret  printable ASCII, or null for `none`; stays the caller's to wipe.
 * @returns plaintext for a record of kind 3, the caller's to wipe.
 */
export function buildPayload(head: PayloadHead, secret: Uint8Array | null): Buffer {
  const { type, header, origins, createdAt } = head;
  const before = JSON.stringify({ v: 1, type, ...(type === 'header' ? { header } : {}) }).slice(0, -1);
  const after = Buffer.from(`,${JSON.stringify({ origins, createdAt }).slice(1)}`);
  const start = Buffer.from(secret === null ? before : `${before},"secret":"`);
  const escaped = secret === null ? 0 : secret.reduce((sum, byte) => sum + (needsEscape(byte) ? 2 : 1), 1);
  const length = start.length + escaped + after.length;
  const bytes = secretBuffer(Math.ceil(length / payloadStep) * payloadStep).fill(0x20);
  bytes.set(start);
  let at = start.length;
  if (secret !== null) {
    for (const byte of secret) {
      if (needsEscape(byte)) bytes[at++] = 0x5c;
      bytes[at++] = byte;
    }
    bytes[at++] = 0x22;
  }
  bytes.set(after, at);
  return bytes;
}

/**
 * Reads everything but the secret, of which only the place is told.
 *
 * @throws {SallyportError} KEY_INVALID: a payload may have been made by a client, so nothing of it is trusted.
 */
export function readPayload(bytes: Buffer): Payload {
  const fields = readFields(bytes);
  const secret = fields.get('secret') ?? null;
  const [v, type, header, createdAt] = [
    fields.get('v'),
    fields.get('type'),
    fields.get('header'),
    fields.get('createdAt'),
  ];
  const isType = (name: string): boolean => type !== undefined && isText(bytes, type, name);
  const parse = ({ start, end }: Member): unknown => JSON.parse(bytes.toString('utf8', start, end));
  if (v === undefined || parse(v) !== 1) throw invalid();
  // When it was made is for people who open a record by hand.
  if (createdAt === undefined || !isStringToken(bytes, createdAt.start)) throw invalid();
  const listed = fields.get('origins');
  const origins = listed === undefined ? null : parse(listed);
  if (!isOrigins(origins)) throw invalid();
  if (isType('none') && header === undefined && secret === null)
    return { type: 'none', header: null, secret, origins };
  if (secret === null || !isStringToken(bytes, secret.start)) throw invalid();
  if (isType('bearer') && header === undefined)
    return { type: 'bearer', header: 'authorization', secret, origins };
  if (isType('header') && header !== undefined && isStringToken(bytes, header.start))
    return { type: 'header', header: parse(header) as string, secret, origins };
  throw invalid();
}

function isText(bytes: Buffer, { start, end }: Member, text: string): boolean {
  return isStringToken(bytes, start) && isString(bytes, start, end, text);
}

/** Writes the secret to `into` from `offset` on. @returns its length. @throws {SallyportError} KEY_INVALID: no room. */
export function copySecret(
  bytes: Buffer,
  { start, end }: Pick<Member, 'start' | 'end'>,
  into: Buffer,
  offset: number,
): number {
  // An escaped byte takes two to six; where the token itself would not fit, count first.
  if (end - start - 2 > into.length - offset && unescapedLength(bytes, start, end) > into.length - offset)
    throw invalid();
  return unescapeString(bytes, start, end, into, offset);
}

const names = ['v', 'type', 'header', 'secret', 'origins', 'createdAt'] as const;

function readFields(bytes: Buffer): ReadonlyMap<string, Member> {
  if (bytes.length === 0 || bytes.length % payloadStep !== 0) throw invalid();
  const fields = new Map<string, Member>();
  try {
    for (const member of scanObject(bytes)) {
      const name = names.find((name) => isString(bytes, member.keyStart, member.keyEnd, name));
      if (name === undefined || fields.has(name)) throw invalid();
      fields.set(name, member);
    }
  } catch (error) {
    throw error instanceof JsonBytesError ? invalid() : error;
  }
  return fields;
}

function unescapedLength(bytes: Buffer, start: number, end: number): number {
  let length = 0;
  for (let at = start + 1; at < end - 1; at += 1, length += 1) {
    if (bytes[at] === 0x5c) at += bytes[at + 1] === 0x75 ? 5 : 1;
  }
  return length;
}

function needsEscape(byte: number): boolean {
  return byte === 0x22 || byte === 0x5c;
}

function isOrigins(value: unknown): value is string[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.length <= maxOrigins &&
    value.every((origin) => typeof origin === 'string')
  );
}

function invalid(): SallyportError {
  return new SallyportError('KEY_INVALID', 'The stored key cannot be read.');
}
