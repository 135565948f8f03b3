import { randomInt, randomUUID } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** Prefixes of resource ids (WIRE.md); `act`, `dep` and `node` stay inside, `ik` names an intake key, `sgn` one that signs. */
export type IdPrefix =
  | 'key'
  | 'tok'
  | 'usr'
  | 'ws'
  | 'call'
  | 'seal'
  | 'alias'
  | 'price'
  | 'alert'
  | 'hook'
  | 'msg'
  | 'breach'
  | 'act'
  | 'dep'
  | 'node'
  | 'ik'
  | 'sgn';

/** `prefix_` + 32 hex digits of a UUIDv7 (RFC 9562, 5.7): ids sort by the time they were made. */
export function newId(prefix: IdPrefix, now: number = Date.now()): string {
  const time = now.toString(16).padStart(12, '0');
  // The 74 random bits of a version 4, of which Node keeps a store: 16 fresh bytes a call would cost ten times as much.
  const random = randomUUID();
  return `${prefix}_${time}7${random.slice(15, 18)}${random.slice(19, 23)}${random.slice(24)}`;
}

/** When an id was made, in ms since 1970. @param id one that `isId` knows */
export function timeOf(id: string): number {
  const at = id.indexOf('_') + 1;
  return Number.parseInt(id.slice(at, at + 12), 16);
}

export function isId(prefix: IdPrefix, text: unknown): text is string {
  return (
    typeof text === 'string' &&
    text.length === prefix.length + 33 &&
    text.startsWith(`${prefix}_`) &&
    /^[0-9a-f]{32}$/.test(text.slice(prefix.length + 1))
  );
}

/** `spt`: gateway token, for the data plane. `spa`: admin token, for `/api`. */
export type TokenKind = 'spt' | 'spa';

export interface ParsedToken {
  readonly kind: TokenKind;
  /** `spt_` + 12: public, names the row. */
  readonly prefix: string;
  /** 43 characters of base62, about 256 bits. */
  readonly secret: string;
}

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const shape = /^(spt|spa)_([0-9A-Za-z]{12})([0-9A-Za-z]{43})([0-9A-Za-z]{6})$/;

function random62(length: number): string {
  let text = '';
  for (let i = 0; i < length; i += 1) text += alphabet[randomInt(62)];
  return text;
}

/** CRC-32 in six characters of base62. */
export function checksum(text: string): string {
  let rest = crc32(text);
  let sum = '';
  for (let i = 0; i < 6; i += 1) {
    sum = alphabet[rest % 62] + sum;
    rest = Math.floor(rest / 62);
  }
  return sum;
}

/** A new token: `spt_<12 id><43 secret><6 crc32>`, base62. The checksum lets a scanner and a typo be told apart from a token. */
export function mintToken(kind: TokenKind): ParsedToken & { readonly text: string } {
  const prefix = `${kind}_${random62(12)}`;
  const secret = random62(43);
  return { kind, prefix, secret, text: prefix + secret + checksum(prefix + secret) };
}

/** The parts of a well-formed token, or null: wrong length, alphabet or checksum. Says nothing of whether it is known. */
export function parseToken(text: string): ParsedToken | null {
  const match = shape.exec(text);
  if (match === null) return null;
  const [, kind, id, secret, sum] = match;
  const prefix = `${kind}_${id}`;
  if (checksum(prefix + secret) !== sum) return null;
  return { kind: kind as TokenKind, prefix, secret: secret as string };
}
