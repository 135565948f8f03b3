import { sealSecretText } from '../seal-text.ts';
import { wipe } from '../secret.ts';
import type { Api } from './api.ts';
import type { Context } from './command.ts';
import { usageError } from './failure.ts';
import { clientContent, type KeyPlace } from './key-content.ts';
import { idOf } from './named-id.ts';
import { publicKeyOf, readSeal, type Seal } from './seal-secret.ts';

interface Key extends KeyPlace {
  readonly sealId: string | null;
}

/** What opens a sealed key for one request. */
export async function sealHeaders(
  context: Context,
  key: Pick<Key, 'sealId'>,
): Promise<Record<string, string>> {
  if (key.sealId === null) return {};
  const ikm = await readSeal(context, `The secret of the seal ${key.sealId} (it is not shown): `);
  try {
    return { 'x-sallyport-seal': sealSecretText(ikm) };
  } finally {
    wipe(ikm);
  }
}

/** What goes into a payload that is sealed here: the gateway that stores it cannot add it. */
export async function placeOf(
  api: Api,
  provider: string,
  origin: string | null,
  auth: string | null,
): Promise<KeyPlace> {
  if (provider !== 'custom') return knownPlace(api, provider);
  const url = URL.parse(origin ?? '');
  if (url === null)
    throw usageError('--origin must be an origin.', 'Give it as https://llm.example.com, without a path.');
  return { provider, auth: auth ?? 'bearer', origins: [url.origin] };
}

/** A new version goes where the gateway sends the provider's keys now; of a custom key, where it went before. */
export async function placeInForce(api: Api, { provider, auth, origins }: Key): Promise<KeyPlace> {
  return provider === 'custom' ? { provider, auth, origins } : knownPlace(api, provider);
}

async function knownPlace(api: Api, name: string): Promise<KeyPlace> {
  const { data } = await api.call<{ data: readonly { name: string; auth: string; origin: string | null }[] }>(
    'GET',
    '/api/providers',
  );
  const known = data.find((one) => one.name === name);
  if (known?.origin !== null && known !== undefined)
    return { provider: name, auth: known.auth, origins: [known.origin] };
  throw usageError('There is no such provider.', `Give one of ${data.map((one) => one.name).join(', ')}.`);
}

/** A value sealed here, to a seal of the workspace. */
export async function sealedContent(
  context: Context,
  api: Api,
  place: KeyPlace,
  sealId: string,
  secret: Buffer,
): Promise<{ readonly sealedPayload: string }> {
  const seal = await api.call<Seal & { workspaceId: string }>('GET', `/api/seals/${idOf('seal', sealId)}`);
  const publicKey = await publicKeyOf(context, seal);
  return clientContent(place, { ...seal, publicKey }, secret, context.has('force'));
}
