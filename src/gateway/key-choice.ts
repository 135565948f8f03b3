import { SallyportError } from '../errors.ts';
import type { CallerSnapshot, KeySnapshot } from './snapshot.ts';

/**
 * The key that pays: the caller's own, else a shared one, else a managed one. The first source that has any key decides: a key
 * that is disabled or expired is never replaced by one of another source, because that would change silently who pays.
 *
 * @throws {SallyportError} KEY_MISSING, KEY_DISABLED, KEY_EXPIRED.
 */
export function chooseKey(caller: CallerSnapshot, name: string, isCustom: boolean, now: number): KeySnapshot {
  const candidates = caller.keys.filter(
    (key) =>
      (isCustom ? key.provider === 'custom' && key.name === name : key.provider === name) &&
      (caller.keyIds === null || caller.keyIds.includes(key.id)),
  );
  const source = candidates[0]?.source;
  const ofSource = candidates.filter((key) => key.source === source);
  const usable = ofSource.find((key) => key.isActive && (key.expiresAt === null || key.expiresAt > now));
  if (usable !== undefined) {
    if (usable.protection === 'sealed')
      throw new SallyportError('SEAL_REQUIRED', `The key ${usable.id} is sealed.`);
    return usable;
  }
  const [refused] = ofSource;
  if (refused === undefined) {
    throw new SallyportError('KEY_MISSING', `No key for ${name} is stored that this token may use.`, {
      fix: isCustom
        ? `Store one: bin/sallyport keys add --provider custom --name ${name} --origin URL`
        : `Store one: bin/sallyport keys add --provider ${name} --name main`,
    });
  }
  if (!refused.isActive) throw new SallyportError('KEY_DISABLED', `The key ${refused.id} is disabled.`);
  throw new SallyportError('KEY_EXPIRED', `The key ${refused.id} has expired.`);
}
