import { secretBuffer, wipe } from '../secret.ts';

/**
 * RFC 4648 base64 from bytes to bytes: what a key service wraps and opens goes over its wire as base64, and Node's own encoder and
 * decoder make strings, which nobody can wipe.
 */
const alphabet = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', 'latin1');
const values = new Uint8Array(256).fill(255);
for (const [value, char] of alphabet.entries()) values[char] = value;
const padding = 0x3d;

/** Padded; in memory of its own, the caller's to wipe. */
export function toBase64(bytes: Uint8Array): Buffer {
  const text = secretBuffer(Math.ceil(bytes.byteLength / 3) * 4);
  let at = 0;
  for (let i = 0; i < bytes.byteLength; i += 3) {
    const left = bytes.byteLength - i;
    const group = ((bytes[i] as number) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    text[at] = alphabet[group >> 18] as number;
    text[at + 1] = alphabet[(group >> 12) & 63] as number;
    text[at + 2] = left > 1 ? (alphabet[(group >> 6) & 63] as number) : padding;
    text[at + 3] = left > 2 ? (alphabet[group & 63] as number) : padding;
    at += 4;
  }
  return text;
}

/** Strict: padded, no bits left over. In memory of its own, the caller's to wipe; null for what is not base64. */
export function fromBase64(text: Uint8Array): Buffer | null {
  const { byteLength } = text;
  if (byteLength % 4 !== 0) return null;
  const pads =
    byteLength === 0 ? 0 : text[byteLength - 1] !== padding ? 0 : text[byteLength - 2] !== padding ? 1 : 2;
  const bytes = secretBuffer((byteLength / 4) * 3 - pads);
  let at = 0;
  for (let i = 0; i < byteLength; i += 4) {
    let group = 0;
    for (let k = 0; k < 4; k += 1) {
      const isPad = i + k >= byteLength - pads;
      const value = isPad ? 0 : (values[text[i + k] as number] as number);
      if (value === 255) {
        wipe(bytes);
        return null;
      }
      group = (group << 6) | value;
    }
    for (let shift = 16; shift >= 0; shift -= 8) {
      const byte = (group >> shift) & 255;
      if (at < bytes.length) bytes[at] = byte;
      else if (byte !== 0) {
        wipe(bytes);
        return null;
      }
      at += 1;
    }
  }
  return bytes;
}

/**
 * The text of a string member that holds base64 or other plain ASCII, found by its name: `"name" : "…"`. For answers of a key service,
 * whose names are known and whose values hold no escapes.
 *
 * @returns a view, not a copy; null where there is none, or it holds an escape.
 */
export function memberText(json: Buffer, name: string): Buffer | null {
  const label = Buffer.from(`"${name}"`, 'latin1');
  const found = json.indexOf(label);
  if (found < 0) return null;
  let at = found + label.length;
  const skip = (): void => {
    while (at < json.length && [0x20, 0x09, 0x0a, 0x0d].includes(json[at] as number)) at += 1;
  };
  skip();
  if (json[at] !== 0x3a) return null;
  at += 1;
  skip();
  if (json[at] !== 0x22) return null;
  const end = json.indexOf(0x22, at + 1);
  if (end < 0) return null;
  const text = json.subarray(at + 1, end);
  return text.includes(0x5c) ? null : text;
}
