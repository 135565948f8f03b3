import { secretBuffer } from '../secret.ts';

/**
 * `{…fields,"value":"<secret>"}` as bytes of its own, for the caller to wipe. The secret is escaped byte by byte (RFC 8259, 7), so
 * that it is never a string here; bytes above 0x7F go as they are and are the gateway's to refuse.
 */
export function secretBody(fields: Readonly<Record<string, unknown>>, secret: Uint8Array): Buffer {
  const head = Buffer.from(
    JSON.stringify(fields).slice(0, -1) + (Object.keys(fields).length === 0 ? '"value":"' : ',"value":"'),
  );
  let escaped = 0;
  for (const byte of secret) escaped += escapeLength(byte);
  const body = secretBuffer(head.length + escaped + 2);
  body.set(head);
  let at = head.length;
  for (const byte of secret) {
    if (byte < 0x20) {
      body.write('\\u00', at, 'latin1');
      body[at + 4] = hexDigit(byte >> 4);
      body[at + 5] = hexDigit(byte & 0x0f);
    } else {
      if (byte === quote || byte === backslash) body[at] = backslash;
      body[at + escapeLength(byte) - 1] = byte;
    }
    at += escapeLength(byte);
  }
  body.write('"}', at, 'latin1');
  return body;
}

const quote = 0x22;
const backslash = 0x5c;

function escapeLength(byte: number): number {
  if (byte < 0x20) return 6;
  return byte === quote || byte === backslash ? 2 : 1;
}

function hexDigit(value: number): number {
  return value < 10 ? 0x30 + value : 0x57 + value;
}
