import {
  brotliDecompressSync,
  constants,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createInflateRaw,
  createZstdDecompress,
  gunzipSync,
  inflateRawSync,
  inflateSync,
  zstdDecompressSync,
} from 'node:zlib';
import type { Transform } from 'node:stream';

/** RFC 9659: windows up to 8 MiB. By itself zstd takes 128 MiB for a frame of a few bytes that asks for them. */
const zstdParams = { params: { [constants.ZSTD_d_windowLogMax]: 23 } };

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
      return zstdDecompressSync(bytes, { ...bound, ...zstdParams });
    default:
      return null;
  }
}

/** Pieces of what is unpacked: larger than zlib's own 16 KiB, so that 64 MiB are a thousand of them. */
const chunkSize = 65_536;

/** The same away from the event loop; it fails at the end of what is not whole. @param first the first of the coded bytes */
export function createDecoder(coding: string, first: Buffer): Transform | null {
  switch (coding) {
    case 'gzip':
    case 'x-gzip':
      return createGunzip({ chunkSize });
    case 'deflate':
      return isZlib(first) ? createInflate({ chunkSize }) : createInflateRaw({ chunkSize });
    case 'br':
      return createBrotliDecompress({ chunkSize });
    case 'zstd':
      return createZstdDecompress({ chunkSize, ...zstdParams });
    default:
      return null;
  }
}

/** RFC 9110, 8.4.1.2 means the zlib format by `deflate`; some send bare deflate. */
function isZlib(bytes: Buffer): boolean {
  return ((bytes[0] ?? 0) & 0x0f) === 8;
}
