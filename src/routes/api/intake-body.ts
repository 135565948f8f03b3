import type { IncomingMessage } from 'node:http';
import { SallyportError } from '../../errors.ts';
import { secretBuffer, wipe } from '../../secret.ts';

/** VAULT.md, "Intake": a key has at most 8192 bytes, each written with up to six characters. */
export const maxIntakeBytes = 65_536;

/**
 * A request's body in memory of its own. fastify's parser would gather it by `Buffer.concat`, whose pool is shared and never wiped;
 * here each piece is wiped as soon as it is copied.
 *
 * @throws {SallyportError} BODY_TOO_LARGE, REQUEST_INVALID.
 */
export async function readIntakeBody(stream: IncomingMessage): Promise<Buffer> {
  const body = secretBuffer(maxIntakeBytes);
  let length = 0;
  try {
    for await (const piece of stream as AsyncIterable<Buffer>) {
      try {
        if (length + piece.length > maxIntakeBytes) {
          throw new SallyportError('BODY_TOO_LARGE', 'The body is larger than 64 KiB.', {
            fix: 'Send less.',
          });
        }
        body.set(piece, length);
        length += piece.length;
      } finally {
        wipe(piece);
      }
    }
    if (length === 0) throw new SallyportError('REQUEST_INVALID', 'The body is empty.');
    return body.subarray(0, length);
  } catch (error) {
    wipe(body);
    if (error instanceof SallyportError) throw error;
    throw new SallyportError('REQUEST_INVALID', 'The body broke off.');
  }
}
