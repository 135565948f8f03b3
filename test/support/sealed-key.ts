import { sealContext } from '../../src/vault/context.ts';
import { sealHpke } from '../../src/vault/seal-pair.ts';
import type { TestGateway } from './gateway.ts';
import { newSeal, type TestSeal } from './seal.ts';

export interface StoredSeal extends TestSeal {
  readonly id: string;
}

/** A seal that the gateway knows by its public key; its secret may be found nowhere when the test ends. */
export async function storeSeal(gateway: TestGateway): Promise<StoredSeal> {
  const seal = newSeal();
  gateway.watch(seal.secret);
  const made = await gateway.api('POST', '/seals', { name: 'mine', publicKey: seal.publicKey });
  if (made.status !== 201) throw new Error(`a seal was refused: ${made.status} ${made.body?.detail}`);
  return { ...seal, id: made.body.id };
}

/** A payload as a client makes it, honest or not: the gateway sees nothing of what it is given to keep. */
export function clientPayload(
  gateway: TestGateway,
  seal: StoredSeal,
  provider: string,
  payload: object | string,
): string {
  const text = typeof payload === 'string' ? payload : JSON.stringify(payload);
  const bytes = Buffer.from(text, 'latin1');
  const padded = Buffer.alloc(Math.ceil(bytes.length / 256) * 256, ' ');
  padded.set(bytes);
  const context = sealContext({ workspaceId: gateway.workspaceId, sealId: seal.id, provider });
  return sealHpke.seal(Buffer.from(seal.publicKey, 'base64url'), context, padded).toString('base64url');
}
