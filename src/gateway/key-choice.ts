import { SallyportError } from '../errors.ts';
import type { Provider } from '../providers/provider.ts';
import type { CallerSnapshot, KeySnapshot } from './snapshot.ts';

export interface Wanted {
  readonly provider: Provider;
  /** The provider's name, or a custom provider's own. */
  readonly name: string;
  readonly custom: boolean;
}

/** Why a key that a caller has is not asked. `tried`: it was; `ill`: it failed a moment ago and another may do (target-health.ts). */
export type SkipReason = 'disabled' | 'expired' | Defect | 'tried' | 'ill';
/** `refused`: by the provider, in a test of our own. `origin`: it was stored for another. `sealed`: no seal came with the call. */
type Defect = 'sealed' | 'refused' | 'origin';

export interface Terms {
  readonly now: number;
  /** From 0, below 1. */
  readonly random: () => number;
  readonly hasSeal: boolean;
  /** In force for a known provider; null: a custom key's own. */
  readonly origin: string | null;
  readonly isWell: (key: KeySnapshot, origin: string) => boolean;
  /** Null where nothing was asked yet. */
  readonly isTried: ((key: KeySnapshot) => boolean) | null;
  /** What is kept in an account is looked for with one key, always the same: another's account has it not. */
  readonly isFixed: () => boolean;
  /** With nothing better there, is one taken that failed a moment ago? */
  readonly takesIll: boolean;
  readonly onSkipped: ((key: KeySnapshot, reason: SkipReason) => void) | null;
}

/**
 * The key that pays: the caller's own, else a shared one, else a managed one. The first source that has any key decides, and within
 * it whoever has the first that is active: a key that is disabled, expired, sealed or refused is never replaced by one of another source,
 * nor a colleague's by another colleague's, because that would change silently who pays. Among several of one payer each gets its weight's
 * part of the calls; those of weight 0 get what no other can take.
 *
 * @returns null where every one was tried, or is ill and not to be taken; one that is sealed where nothing else is left, for its gate to
 *   refuse.
 * @throws {SallyportError} KEY_MISSING, KEY_DISABLED, KEY_EXPIRED, KEY_ORIGIN, UPSTREAM_AUTH.
 */
export function chooseKey(caller: CallerSnapshot, wanted: Wanted, terms: Terms): KeySnapshot | null {
  let first: KeySnapshot | null = null;
  let payer: KeySnapshot | null = null;
  let only: KeySnapshot | null = null;
  let several: KeySnapshot[] | null = null;
  let defective: { readonly key: KeySnapshot; readonly defect: Defect } | null = null;
  let isAnyTried = false;
  let hasOthers = false;
  for (const key of caller.keys) {
    if (!isFor(wanted, key) || caller.keyIds?.includes(key.id) === false) continue;
    if (key.purpose !== 'relay') {
      hasOthers = true;
      continue;
    }
    first ??= key;
    if (key.source !== first.source) continue;
    const standing = standingOf(key, terms);
    if (standing === 'disabled' || standing === 'expired') {
      terms.onSkipped?.(key, standing);
      continue;
    }
    payer ??= key;
    if (key.ownerId !== payer.ownerId) continue;
    if (terms.isTried?.(key) === true) {
      isAnyTried = true;
      terms.onSkipped?.(key, 'tried');
    } else if (standing !== null) {
      terms.onSkipped?.(key, standing);
      if (defective === null || gravity[standing] < gravity[defective.defect])
        defective = { key, defect: standing };
    } else if (only === null) only = key;
    else (several ??= [only]).push(key);
  }
  if (isAnyTried && terms.isFixed()) return null;
  if (only !== null) return several === null ? unlessIll(only, terms) : draw(several, terms);
  if (isAnyTried) return null;
  if (defective !== null) {
    if (defective.defect === 'sealed') return defective.key;
    throw unusable(wanted.provider, defective.key, terms.origin, defective.defect);
  }
  if (first === null) throw missing(wanted, hasOthers);
  if (!first.isActive) throw new SallyportError('KEY_DISABLED', `The key ${first.id} is disabled.`);
  throw new SallyportError('KEY_EXPIRED', `The key ${first.id} has expired.`);
}

/** Told first: what the caller himself can mend. */
const gravity: Readonly<Record<Defect, number>> = { sealed: 0, refused: 1, origin: 2 };

function isFor({ custom, name }: Wanted, key: KeySnapshot): boolean {
  return custom ? key.provider === 'custom' && key.name === name : key.provider === name;
}

function standingOf(
  key: KeySnapshot,
  { now, hasSeal, origin }: Terms,
): Exclude<SkipReason, 'tried' | 'ill'> | null {
  if (!key.isActive) return 'disabled';
  if (key.expiresAt !== null && key.expiresAt <= now) return 'expired';
  if (origin !== null && !key.origins.includes(origin)) return 'origin';
  if (key.isRefused) return 'refused';
  return key.protection === 'sealed' && !hasSeal ? 'sealed' : null;
}

function isWell(key: KeySnapshot, terms: Terms): boolean {
  if (terms.isWell(key, terms.origin ?? (key.origins[0] as string))) return true;
  terms.onSkipped?.(key, 'ill');
  return false;
}

function unlessIll(key: KeySnapshot, terms: Terms): KeySnapshot | null {
  return terms.takesIll || isWell(key, terms) || terms.isFixed() ? key : null;
}

function draw(keys: readonly KeySnapshot[], terms: Terms): KeySnapshot | null {
  if (terms.isFixed()) return keys.find(({ weight }) => weight > 0) ?? (keys[0] as KeySnapshot);
  const well = keys.filter((key) => isWell(key, terms));
  const pool = well.length > 0 || !terms.takesIll ? well : keys;
  let left = terms.random() * pool.reduce((sum, { weight }) => sum + weight, 0);
  for (const key of pool) {
    left -= key.weight;
    if (left < 0) return key;
  }
  return pool[0] ?? null;
}

function unusable(
  provider: Provider,
  key: KeySnapshot,
  origin: string | null,
  defect: 'refused' | 'origin',
): SallyportError {
  if (defect === 'refused') {
    return new SallyportError(
      'UPSTREAM_AUTH',
      `${provider.title} refused the stored key ${key.id} when it was last tested; it is not sent until a test finds it good.`,
    );
  }
  return new SallyportError(
    'KEY_ORIGIN',
    `The key was stored for ${key.origins.join(', ')}, and calls to ${provider.title} now go to ${origin}.`,
  );
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
