/** Bounds of a provider key. The lower one holds where a key is taken in; what is opened only has to be sendable. */
export const maxSecretBytes = 8192;
export const minSecretBytes = 8;

/** 0x21–0x7E: printable ASCII without space, the bytes that may stand in a header and end none. */
export function isPrintable(secret: Uint8Array): boolean {
  for (const byte of secret) if (byte < 0x21 || byte > 0x7e) return false;
  return true;
}
