/**
 * Keys that everybody knows: somebody pasted them from a standard, a tutorial or our own known-answer vectors.
 * Sources: NIST SP 800-38A F.1.5, FIPS 197 C.3, the GCM specification's test case 16, RFC 8439 2.3.2, RFC 9180 A.
 */
const samples: ReadonlySet<string> = new Set([
  sequence(0, 1),
  sequence(1, 1),
  sequence(0x20, 1),
  sequence(0x40, 1),
  sequence(0x60, 1),
  sequence(0x80, 1),
  sequence(0xa0, 1),
  sequence(0x1f, -1),
  sequence(0x20, -1),
  sequence(0xff, -1),
  '603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4',
  'feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308',
  'deadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeef',
  '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef',
  ...['0123456789abcdef', '0123456789ABCDEF', 'abcdefghijklmnop', '1234567890123456', '0123456789012345'].map(
    (text) => hex(text + text),
  ),
  ...[
    '01234567890123456789012345678901',
    '12345678901234567890123456789012',
    'abcdefghijklmnopqrstuvwxyz123456',
    'abcdefghijklmnopqrstuvwxyz012345',
    'passwordpasswordpasswordpassword',
    'changemechangemechangemechangeme',
    'my-32-character-ultra-secure-key',
    'your-32-character-encryption-key',
  ].map(hex),
]);

/** True for a key of one repeated byte, and for a published one. */
export function isSampleKey(key: Uint8Array): boolean {
  return key.every((byte) => byte === key[0]) || samples.has(key.toHex());
}

function sequence(start: number, step: number): string {
  return Uint8Array.from({ length: 32 }, (_, index) => start + index * step).toHex();
}

function hex(text: string): string {
  return Buffer.from(text, 'latin1').toString('hex');
}
