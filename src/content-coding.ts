import {
  brotliDecompressSync,
  constants,
  gunzipSync,
  inflateRawSync,
  inflateSync,
  zstdDecompressSync,
} from 'node:zlib';

/**
 * Takes a content coding off bytes in memory, as far as they go: a stream that was cut gives what came of it.
 *
 * @param coding the content-encoding header, lower case. Several codings at once are not decoded.
 * @param maxBytes zlib stops there, so that a bomb costs that much and no more. What it costs is time on the event loop: 4 MiB take 10 ms.
 * @returns null for a coding that is not known
 * @throws when damaged or longer than `maxBytes`
 */
export function decoded(coding: string, bytes: Buffer, maxBytes: number): Buffer | null {
  const bound = { maxOutputLength: maxBytes };
  const lenient = { ...bound, finishFlush: constants.Z_SYNC_FLUSH };
  switch (coding) {
    case 'gzip':
    case 'x-gzip':
      return gunzipSync(bytes, lenient);
    case 'deflate':
      return isZlib(bytes) ? inflateSync(bytes, lenient) : inflateRawSync(bytes, lenient);
    case 'br':
      return brotliDecompressSync(bytes, { ...bound, finishFlush: constants.BROTLI_OPERATION_FLUSH });
    case 'zstd':
      return zstdDecompressSync(bytes, bound);
    default:
      return null;
  }
}

/** RFC 9110, 8.4.1.2 means the zlib format by `deflate`; some send bare deflate. */
function isZlib(bytes: Buffer): boolean {
  return ((bytes[0] ?? 0) & 0x0f) === 8;
}
