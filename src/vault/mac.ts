import { createHmac, timingSafeEqual, type KeyObject } from 'node:crypto';

export type MacField = string | number | boolean | null | readonly string[];

/**
 * HMAC-SHA256 over fields in a form that only these fields have: a letter for the type, a u32 big-endian length, the bytes; a list is its
 * count and then its items. So `["a","b"]` and `["ab"]`, `null` and `""`, `1` and `"1"` differ.
 */
export function macOf(key: KeyObject, fields: readonly MacField[]): Buffer {
  const mac = createHmac('sha256', key);
  const part = (type: string, content: Uint8Array): void => {
    const head = Buffer.alloc(5, type, 'latin1');
    head.writeUInt32BE(content.byteLength, 1);
    mac.update(head).update(content);
  };
  const add = (field: MacField): void => {
    if (field === null) part('n', Buffer.alloc(0));
    else if (typeof field === 'string') part('s', Buffer.from(field));
    else if (typeof field === 'boolean') part('b', Buffer.from(field ? '1' : '0'));
    else if (typeof field === 'number') part('d', Buffer.from(decimal(field)));
    else {
      part('l', Buffer.from(decimal(field.length)));
      field.forEach(add);
    }
  };
  add(fields.length);
  fields.forEach(add);
  return mac.digest();
}

/** In constant time; another length is just unequal. */
export function isSameMac(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && timingSafeEqual(a, b);
}

function decimal(value: number): string {
  if (!Number.isSafeInteger(value)) throw new RangeError('only whole numbers have one form');
  return String(value);
}
