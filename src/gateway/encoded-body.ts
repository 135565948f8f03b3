import { createDecoder } from '../content-coding.ts';
import { SallyportError } from '../errors.ts';
import type { BodyShare } from './body-budget.ts';

/** No JSON that somebody wrote shrinks to a hundredth; below a MiB nobody counts. */
const [maxRatio, alwaysBytes] = [100, 1024 * 1024];

/**
 * The JSON of a body that came compressed, where its model has to be read. It goes on as it is unpacked: two programs that unpack in
 * two ways (members one behind the other, bare deflate) would read two models.
 *
 * @param body as it came, whole
 * @param coding the content-encoding header
 * @param share what it takes of the memory for all bodies, beside the body's own
 * @throws {SallyportError} BODY_TOO_LARGE: over `maxBytes`, or over a hundred times what came; REQUEST_INVALID: damaged, cut, or a coding
 * that is not known, several at once among these; RATE_LIMITED.
 */
export async function unpacked(
  body: Buffer,
  coding: string,
  maxBytes: number,
  share: Pick<BodyShare, 'take'>,
): Promise<Buffer> {
  const decoder = createDecoder(coding.trim().toLowerCase(), body);
  if (decoder === null) {
    throw new SallyportError(
      'REQUEST_INVALID',
      'The model is read from the body, and its content-encoding is not known.',
      {
        fix: 'Send it without content-encoding, or as one of gzip, deflate, br, zstd.',
      },
    );
  }
  const limit = Math.min(maxBytes, Math.max(alwaysBytes, maxRatio * body.length));
  const chunks: Buffer[] = [];
  let bytes = 0;
  decoder.end(body);
  try {
    for await (const chunk of decoder as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > limit)
        throw new SallyportError(
          'BODY_TOO_LARGE',
          `The body is larger than ${limit} bytes when it is unpacked.`,
        );
      share.take(chunk.length);
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof SallyportError) throw error;
    throw new SallyportError('REQUEST_INVALID', 'The body is not what its content-encoding says.', {
      cause: error,
    });
  }
  return Buffer.concat(chunks, bytes);
}
