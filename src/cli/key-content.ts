import { SallyportError } from '../errors.ts';
import { wipe } from '../secret.ts';
import { providers } from '../providers/catalogue.ts';
import { intakeContext, sealContext } from '../vault/context.ts';
import { createHpke } from '../vault/hpke.ts';
import { checkSecret } from '../vault/intake.ts';
import { intakeInfo } from '../vault/intake-key.ts';
import { buildPayload, type PayloadHead } from '../vault/payload.ts';
import { sealHpke } from '../vault/seal-pair.ts';
import type { Api } from './api.ts';

/** Where a key goes, as its payload says it. */
export interface KeyPlace {
  readonly provider: string;
  readonly auth: string;
  readonly origins: readonly string[];
}

interface IntakeKey {
  readonly id: string;
  readonly publicKey: string;
  readonly workspaceId: string;
}

/** The value, sealed to the gateway's intake key: no proxy or log on its way holds it. @throws {AnsweredError} */
export async function intakeContent(
  api: Api,
  provider: string,
  secret: Buffer,
): Promise<{ readonly sealedValue: string }> {
  const { id, publicKey, workspaceId } = await api.call<IntakeKey>('GET', '/api/intake-key');
  const context = intakeContext({ workspaceId, provider });
  const sealed = createHpke(intakeInfo).seal(Buffer.from(publicKey, 'base64url'), context, secret);
  return { sealedValue: `${id}.${sealed.toString('base64url')}` };
}

/**
 * The value and where it may go, sealed to a seal here: the gateway that stores it never sees it.
 *
 * @throws {SallyportError} KEY_FORMAT: what the gateway cannot check is checked here.
 */
export function clientContent(
  place: KeyPlace,
  seal: { readonly id: string; readonly workspaceId: string; readonly publicKey: Buffer },
  secret: Buffer,
  isForced: boolean,
): { readonly sealedPayload: string } {
  checkSecret(secret);
  if (!isForced) checkShape(place.provider, secret);
  const { origins, provider } = place;
  const head = { ...credentialOf(place.auth), origins, createdAt: new Date().toISOString() };
  const payload = buildPayload(head, secret);
  try {
    const context = sealContext({ workspaceId: seal.workspaceId, sealId: seal.id, provider });
    return { sealedPayload: sealHpke.seal(seal.publicKey, context, payload).toString('base64') };
  } finally {
    wipe(payload);
  }
}

function checkShape(provider: string, secret: Buffer): void {
  const known = provider === 'custom' ? undefined : providers.get(provider);
  if (known === undefined || known.keyShape.pattern(secret)) return;
  throw new SallyportError('KEY_FORMAT', `A key for ${provider} looks like ${known.keyShape.hint}.`, {
    fix: 'Check what was pasted; --force stores it anyway.',
  });
}

function credentialOf(auth: string): Pick<PayloadHead, 'type' | 'header'> {
  return auth === 'bearer'
    ? { type: 'bearer', header: 'authorization' }
    : { type: 'header', header: auth.slice('header:'.length).toLowerCase() };
}
