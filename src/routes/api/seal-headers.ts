import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { SallyportError } from '../../errors.ts';
import { wipe } from '../../secret.ts';
import { parseSealSecret } from '../../seal-text.ts';

const SealHeader = Type.Optional(Type.String({ description: 'The secret of a seal: sps_…' }));
/** For the documents: `withSeal` says itself what is wrong with one. */
export const SealHeaders = Type.Object({ 'x-sallyport-seal': SealHeader });
export const TwoSealHeaders = Type.Object({
  'x-sallyport-seal': SealHeader,
  'x-sallyport-new-seal': SealHeader,
});

/**
 * The secret of a seal from a header, as bytes for the time of `work`.
 *
 * @throws {SallyportError} SEAL_WRONG: not well-formed, or sent twice; what `work` throws.
 */
export async function withSeal<T>(
  request: FastifyRequest,
  work: (seal: Buffer | null) => Promise<T>,
): Promise<T> {
  const seal = sealOf(request, 'x-sallyport-seal');
  try {
    return await work(seal);
  } finally {
    wipe(seal);
  }
}

/** Both seals of a re-sealing. @throws {SallyportError} SEAL_REQUIRED, SEAL_WRONG; what `work` throws. */
export async function withTwoSeals<T>(
  request: FastifyRequest,
  work: (seals: { readonly old: Buffer; readonly next: Buffer }) => Promise<T>,
): Promise<T> {
  return withSeal(request, async (old) => {
    const next = sealOf(request, 'x-sallyport-new-seal');
    try {
      if (old !== null && next !== null) return await work({ old, next });
    } finally {
      wipe(next);
    }
    throw new SallyportError('SEAL_REQUIRED', 'To re-seal a key takes the secrets of both seals.', {
      fix: 'Send the one that the keys are sealed to as x-sallyport-seal, and that of the seal in the path as x-sallyport-new-seal.',
    });
  });
}

function sealOf(request: FastifyRequest, name: string): Buffer | null {
  const text = request.headers[name];
  if (text === undefined) return null;
  // Sent twice, Node joins them, and what is joined is no seal.
  const seal = typeof text === 'string' ? parseSealSecret(text) : null;
  if (seal !== null) return seal;
  throw new SallyportError('SEAL_WRONG', `What came as ${name} is no well-formed secret of a seal.`, {
    fix: 'Send sps_ and the 49 characters after it, once.',
  });
}
