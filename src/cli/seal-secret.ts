import { SallyportError } from '../errors.ts';
import { parseSealSecret } from '../seal-text.ts';
import { wipe } from '../secret.ts';
import { sealPublicKeyOf } from '../vault/seal-pair.ts';
import type { Context } from './command.ts';
import { AnsweredError } from './failure.ts';
import { askSecret, readSecret } from './secret-input.ts';

/** Of what `/api/seals` answers. */
export interface Seal {
  readonly id: string;
  readonly name: string;
  readonly publicKey: string;
}

/**
 * The secret of a seal: SALLYPORT_SEAL, else what is typed or piped in.
 *
 * @returns 32 bytes, the caller's to wipe.
 * @throws {SallyportError} SEAL_WRONG: not well-formed. REQUEST_INVALID: there is none.
 */
export async function readSeal(context: Context, prompt: string): Promise<Buffer> {
  return settingOf(context) ?? sealBytes(await readSecret(context.terminal, prompt, 'secret of a seal'));
}

/**
 * What a key is sealed to. Whoever has the seal's secret at hand has its public key derived from it; else it is the gateway's word.
 *
 * @throws {AnsweredError} SEAL_WRONG: the gateway's copy does not belong to the secret.
 */
export async function publicKeyOf(context: Context, seal: Seal): Promise<Buffer> {
  const told = Buffer.from(seal.publicKey, 'base64url');
  const prompt = `The secret of the seal ${seal.id} (Enter: take the gateway’s copy of its public key): `;
  let ikm = settingOf(context);
  if (ikm === null) {
    const typed = await askSecret(context.terminal, prompt);
    if (typed === null) return told;
    ikm = sealBytes(typed);
  }
  try {
    checkSeal(ikm, seal);
    return told;
  } finally {
    wipe(ikm);
  }
}

/** @throws {AnsweredError} SEAL_WRONG */
export function checkSeal(ikm: Buffer, seal: Seal): void {
  if (sealPublicKeyOf(ikm).equals(Buffer.from(seal.publicKey, 'base64url'))) return;
  throw new AnsweredError(
    'SEAL_WRONG',
    `This is not the secret of ${seal.id}, or the gateway names another public key than the seal’s.`,
    'Check that it is the secret of that seal. If it is, the gateway is not to be trusted with a key: tell whoever runs it.',
  );
}

/** The 32 bytes of a secret that was typed, which is wiped. @throws {SallyportError} SEAL_WRONG */
export function sealBytes(typed: Buffer): Buffer {
  try {
    const ikm = parseSealSecret(typed.toString('latin1'));
    if (ikm !== null) return ikm;
  } finally {
    wipe(typed);
  }
  throw new SallyportError('SEAL_WRONG', 'That is no well-formed secret of a seal.', {
    fix: 'Give sps_ and the 49 characters after it, as seals create printed them.',
  });
}

function settingOf(context: Context): Buffer | null {
  const { seal } = context.config();
  return seal === null ? null : parseSealSecret(seal);
}
