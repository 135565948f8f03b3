import { createCipheriv } from 'node:crypto';

/**
 * Finds one ciphertext block whose GCM tag is the same under two keys (Dodis and others, "Fast Message Franking", 2018; "invisible
 * salamanders"): the tag is a polynomial over GF(2^128), so one free block solves one linear equation.
 */
export function blockWithOneTag({
  keys,
  nonce,
  aad,
}: {
  readonly keys: readonly [Uint8Array, Uint8Array];
  readonly nonce: Uint8Array;
  readonly aad: Uint8Array;
}): { readonly block: Buffer; readonly tag: Buffer } {
  const [a, b] = keys.map((key) => {
    const h = toField(encryptBlock(key, Buffer.alloc(16)));
    const mask = toField(encryptBlock(key, Buffer.concat([nonce, Buffer.from([0, 0, 0, 1])])));
    // GHASH = Σ aad·H^i + block·H² + lengths·H
    let sum = 0n;
    for (let at = 0; at < aad.length; at += 16) {
      const part = Buffer.alloc(16);
      part.set(aad.subarray(at, at + 16));
      sum = multiply(sum ^ toField(part), h);
    }
    const lengths = Buffer.alloc(16);
    lengths.writeBigUInt64BE(BigInt(aad.length * 8), 0);
    lengths.writeBigUInt64BE(128n, 8);
    const rest = multiply(multiply(sum, h) ^ toField(lengths), h) ^ mask;
    return { square: multiply(h, h), rest };
  }) as [Side, Side];
  const block = multiply(a.rest ^ b.rest, invert(a.square ^ b.square));
  const tag = multiply(block, a.square) ^ a.rest;
  return { block: fromField(block), tag: fromField(tag) };
}

interface Side {
  readonly square: bigint;
  readonly rest: bigint;
}

function encryptBlock(key: Uint8Array, block: Uint8Array): Buffer {
  return createCipheriv('aes-256-ecb', key, null).setAutoPadding(false).update(block);
}

function toField(bytes: Buffer): bigint {
  return BigInt(`0x${bytes.toString('hex')}`);
}

function fromField(value: bigint): Buffer {
  return Buffer.from(value.toString(16).padStart(32, '0'), 'hex');
}

/** GCM's field: the leftmost bit is the coefficient of x^0 (NIST SP 800-38D, 6.3). */
function multiply(x: bigint, y: bigint): bigint {
  let product = 0n;
  let v = y;
  for (let bit = 127n; bit >= 0n; bit -= 1n) {
    if ((x >> bit) & 1n) product ^= v;
    v = v & 1n ? (v >> 1n) ^ (0xe1n << 120n) : v >> 1n;
  }
  return product;
}

/** x^(2^128 - 2). */
function invert(x: bigint): bigint {
  let result = 1n << 127n;
  let power = x;
  for (let i = 1; i < 128; i += 1) {
    power = multiply(power, power);
    result = multiply(result, power);
  }
  return result;
}
