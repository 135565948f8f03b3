import type { Credential } from '../egress/egress.ts';
import type { PreparedKey } from '../vault/vault.ts';
import type { Target } from './target.ts';

/** Where a key goes in the request: a header and what stands before the secret. The secret itself the injector asks the vault for. */
export function credentialOf(
  target: Target,
  prepared: PreparedKey,
  onResult?: (ok: boolean) => void,
): Credential | null {
  const { auth } = target.key;
  if (auth === 'none') return null;
  const { provider } = target;
  const bearer = { header: 'authorization', prefix: 'Bearer ' };
  const custom = auth === 'bearer' ? bearer : { header: auth.slice('header:'.length), prefix: '' };
  return {
    ...(provider.name === 'custom' ? custom : provider.credential),
    maxBytes: prepared.maxBytes,
    openInto: (into, offset, place) => prepared.openInto(into, offset, place),
    onOpened: () => onResult?.(true),
    onFailed: () => onResult?.(false),
  };
}
