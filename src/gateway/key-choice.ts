import { SallyportError } from '../errors.ts';
import type { Provider } from '../providers/provider.ts';
import type { CallerSnapshot, KeySnapshot } from './snapshot.ts';

export interface Wanted {
  readonly provider: Provider;
  /** The provider's name, or a custom provider's own. */
  readonly name: string;
  readonly custom: boolean;
}

/**
 * The key that pays: the caller's own, else a shared one, else a managed one. The first source that has any key decides: a key
 * that is disabled, expired or sealed is never replaced by one of another source, because that would change silently who pays.
 *
 * @throws {SallyportError} KEY_MISSING, KEY_DISABLED, KEY_EXPIRED.
 */
export function chooseKey(caller: CallerSnapshot, wanted: Wanted, now: number): KeySnapshot {
  const { name } = wanted;
  const all = caller.keys.filter(
    (key) =>
      (wanted.custom ? key.provider === 'custom' && key.name === name : key.provider === name) &&
      (caller.keyIds === null || caller.keyIds.includes(key.id)),
  );
  const candidates = all.filter((key) => key.purpose === 'relay');
  const source = candidates[0]?.source;
  const ofSource = candidates.filter((key) => key.source === source);
  const usable = ofSource.find((key) => key.isActive && (key.expiresAt === null || key.expiresAt > now));
  if (usable !== undefined) return usable;
  const [refused] = ofSource;
  if (refused === undefined) throw missing(wanted, all.length > 0);
  if (!refused.isActive) throw new SallyportError('KEY_DISABLED', `The key ${refused.id} is disabled.`);
  throw new SallyportError('KEY_EXPIRED', `The key ${refused.id} has expired.`);
}

function missing({ provider, name, custom }: Wanted, hasOthers: boolean): SallyportError {
  const add = custom
    ? `bin/sallyport keys add --provider custom --name ${name} --origin URL`
    : `bin/sallyport keys add --provider ${name} --name main`;
  return new SallyportError(
    'KEY_MISSING',
    hasOthers
      ? `What is stored for ${name} administers the account, and no call goes out with such a key.`
      : `No key for ${name} is stored that this token may use.`,
    {
      fix:
        provider.keyPage === ''
          ? `Store one: ${add}`
          : `Make one at ${provider.keyPage} and store it: ${add}`,
    },
  );
}
