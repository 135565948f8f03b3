import { secretBuffer, wipe } from '../secret.ts';

/** The forms in which an answer may carry a key, one behind the other. Plain: the caller wipes `bytes`. */
export interface KeyForms {
  readonly bytes: Buffer;
  /** Exclusive ends; each form begins where the one before it ends. No two are equal. */
  readonly ends: readonly number[];
}

const lowerHex = Buffer.from('0123456789abcdef');
const upperHex = Buffer.from('0123456789ABCDEF');
const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const base64 = Buffer.from(`${digits}+/`);
const base64url = Buffer.from(`${digits}-_`);
/** RFC 3986, 2.3; and as Python's `quote`, JavaScript's encodeURIComponent and forms (WHATWG URL, 5.2) have it. */
const unreserved = setOf(`${digits}-._~`);
const leftByPython = setOf(`${digits}-._~/`);
const leftByScript = setOf(`${digits}-._~!'()*`);
const leftByForms = setOf(`${digits}-._*`);
const leftByJson = setOf('', '"\\');
/** PHP writes a slash as `\/`. */
const leftByPhp = setOf('', '"\\/');

/** Of n bytes: as they are 1, in JSON 2 + 2, in URLs 8 × 3, in hex 2 + 2, in base64 6 × 4/3. */
const mostPerByte = 41;
const mostBeside = 6 * 4;

/**
 * Raw, escaped for JSON and for URLs where that differs, hex in both cases, base64 in both alphabets and three alignments. Built of
 * bytes alone: what is made by way of a string stays in the heap.
 *
 * @param key  1 byte or more, each 0x21–0x7E (injector.ts).
 */
export function keyForms(key: Uint8Array): KeyForms {
  const room = secretBuffer(mostPerByte * key.length + mostBeside);
  const ends: number[] = [];
  const end = (): number => ends.at(-1) ?? 0;
  const add = (write: (at: number) => number): void => {
    const start = end();
    const at = write(start);
    // An alphabet without a special character, a key without anything to escape.
    const isKnown = ends.some((known, i) => {
      const from = i === 0 ? 0 : (ends[i - 1] as number);
      return known - from === at - start && room.compare(room, start, at, from, known) === 0;
    });
    if (!isKnown && at > start) ends.push(at);
  };
  const addEscaped = (plain: Uint8Array, escape: (byte: number, at: number) => number): void =>
    add((from) => {
      let at = from;
      for (const byte of key) {
        if (plain[byte] === 1) room[at++] = byte;
        else at = escape(byte, at);
      }
      return at;
    });
  const inHex = (byte: number, at: number, hex: Buffer): number => {
    room[at] = hex[byte >> 4] as number;
    room[at + 1] = hex[byte & 15] as number;
    return at + 2;
  };
  const behindBackslash = (byte: number, at: number): number => {
    room[at] = 0x5c;
    room[at + 1] = byte;
    return at + 2;
  };

  add((at) => {
    room.set(key, at);
    return at + key.length;
  });
  for (const plain of [leftByJson, leftByPhp]) addEscaped(plain, behindBackslash);
  for (const plain of [unreserved, leftByPython, leftByScript, leftByForms]) {
    for (const hex of [upperHex, lowerHex]) {
      addEscaped(plain, (byte, at) => {
        room[at] = 0x25;
        return inHex(byte, at + 1, hex);
      });
    }
  }
  for (const hex of [lowerHex, upperHex]) addEscaped(none, (byte, at) => inHex(byte, at, hex));
  for (const alphabet of [base64, base64url]) {
    for (const shift of [0, 1, 2]) add((at) => writeBase64(key, shift, alphabet, room, at));
  }

  const bytes = secretBuffer(end());
  bytes.set(room.subarray(0, end()));
  wipe(room);
  return { bytes, ends };
}

const none = new Uint8Array(256);

/** The digits that are the key's alone, where `shift` bytes stand before it in its group of three and any follow. */
function writeBase64(key: Uint8Array, shift: number, alphabet: Buffer, into: Buffer, from: number): number {
  let at = from;
  // Of the first digits some bits are of what stands before: 8 bits reach into the second, 16 into the third.
  let [bits, count] = [0, 0];
  let toSkip = shift === 0 ? 0 : 6 - ((8 * shift) % 6);
  for (const byte of key) {
    bits = ((bits << 8) | byte) & 0xffff;
    count += 8;
    if (toSkip > 0) {
      count -= toSkip;
      toSkip = 0;
    }
    while (count >= 6) {
      count -= 6;
      into[at++] = alphabet[(bits >> count) & 63] as number;
    }
  }
  return at;
}

function setOf(members: string, except?: string): Uint8Array {
  const set = new Uint8Array(256).fill(except === undefined ? 0 : 1);
  for (const byte of Buffer.from(members)) set[byte] = 1;
  for (const byte of Buffer.from(except ?? '')) set[byte] = 0;
  return set;
}
