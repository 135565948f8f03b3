import { introductionText, type KeyIntroduction, noteName, readIntroduction } from './checkpoint-note.ts';
import {
  isSignedBy,
  type NoteSigner,
  parseNote,
  parseVerifier,
  signedNote,
  type Verifier,
  verifierText,
} from './note.ts';

/** What the vault has for signing; signing-key.ts there says more. */
export interface SigningVault<New extends NoteSigner & { readonly id: string }> {
  readonly deploymentId: string;
  readonly signingKeys: {
    active(): Promise<(NoteSigner & { readonly id: string }) | null>;
    make(): Promise<New>;
    keep(fresh: New, note: string, replaces: string | null): Promise<void>;
    list(): Promise<readonly IntroducedKey[]>;
  };
}

/** A public key with the note that introduces it. */
export interface IntroducedKey {
  readonly id: string;
  readonly publicKey: Buffer;
  readonly note: string;
  readonly createdAt: Date;
  readonly retiredAt: Date | null;
}

/** The keys that checkpoints and other notes of this deployment are signed with. */
export interface CheckpointKeys {
  /** `sallyport/<deployment id>` */
  readonly name: string;
  /** The key that signs now; made where there is none. @throws {SallyportError} VAULT_SEALED */
  signer(): Promise<NoteSigner & { readonly id: string }>;
  /** Text signed by the present key. */
  sign(text: string): Promise<string>;
  /** A new key, ready to take over from the present one: in memory alone until `keep`. @throws {SallyportError} VAULT_SEALED */
  takeover(): Promise<Takeover>;
  /** The note that introduces a key; null: it is not there. */
  introduction(id: string): Promise<string | null>;
  /** Every key that the present one vouches for; the present one is what the vault opens, and not what a row says. */
  known(): Promise<KnownKeys>;
}

export interface Takeover {
  readonly id: string;
  /** Null: the first key. */
  readonly replaces: string | null;
  /** Says that it takes over, signed by both. */
  readonly note: string;
  /** @throws {SallyportError} CONFLICT: another one took over meanwhile. */
  keep(): Promise<void>;
}

export interface KnownKeys {
  /** In the order of their introductions, oldest first. */
  readonly keys: readonly IntroducedKey[];
  readonly verifiers: readonly Verifier[];
  /** Rows that nobody vouches for, by id. */
  readonly strangers: readonly string[];
}

export function createCheckpointKeys<New extends NoteSigner & { readonly id: string }>(
  { deploymentId, signingKeys }: SigningVault<New>,
  clock: () => number,
): CheckpointKeys {
  const name = noteName(deploymentId);
  const verifierOf = ({ publicKey }: NoteSigner): string => verifierText({ name, publicKey });

  async function introduce(old: (NoteSigner & { readonly id: string }) | null): Promise<Takeover> {
    const fresh = await signingKeys.make();
    const text = introductionText(name, {
      key: verifierOf(fresh),
      replaces: old === null ? null : verifierOf(old),
      at: new Date(clock()).toISOString(),
    });
    const note = signedNote(name, text, old === null ? [fresh] : [old, fresh]);
    const replaces = old?.id ?? null;
    return { id: fresh.id, replaces, note, keep: () => signingKeys.keep(fresh, note, replaces) };
  }

  async function signer(): Promise<NoteSigner & { readonly id: string }> {
    const active = await signingKeys.active();
    if (active !== null) return active;
    // Of two nodes that start at once one is told of a conflict, and takes the other's.
    const conflict: unknown = await introduce(null)
      .then((first) => first.keep())
      .then(
        () => null,
        (error: unknown) => error,
      );
    const now = await signingKeys.active();
    if (now === null) throw conflict;
    return now;
  }

  return Object.freeze<CheckpointKeys>({
    name,
    signer,
    sign: async (text) => signedNote(name, text, [await signer()]),
    takeover: async () => introduce(await signer()),
    introduction: async (id) => (await signingKeys.list()).find((key) => key.id === id)?.note ?? null,
    async known() {
      const active = await signingKeys.active();
      return vouchedFor(name, await signingKeys.list(), active?.publicKey ?? null);
    },
  });
}

/**
 * The keys that stand in one line of introductions, each signed by itself and by the one before it, up to the one in use.
 *
 * @param active public key of the one in use, from whoever knows better than the rows; null: the last of the line is believed.
 */
export function vouchedFor(
  name: string,
  keys: readonly IntroducedKey[],
  active: Uint8Array | null,
): KnownKeys {
  const byText = new Map(keys.map((key) => [verifierText({ name, publicKey: key.publicKey }), key]));
  const replaced = new Set(keys.map((key) => introductionOf(name, key)?.replaces));
  const last =
    active === null
      ? keys.find(({ publicKey }) => !replaced.has(verifierText({ name, publicKey })))
      : keys.find(({ publicKey }) => publicKey.equals(active));
  const line: IntroducedKey[] = [];
  const found = new Set<string>();
  for (let key = last; key !== undefined && !found.has(key.id);) {
    const introduction = introductionOf(name, key);
    if (introduction === null) break;
    found.add(key.id);
    line.unshift(key);
    key = introduction.replaces === null ? undefined : byText.get(introduction.replaces);
  }
  return {
    keys: line,
    verifiers: line.map(({ publicKey }) => ({ name, publicKey })),
    strangers: keys.filter(({ id }) => !found.has(id)).map(({ id }) => id),
  };
}

/** What its note states, where it is this key's and signed by it and by the key that it takes over from. */
function introductionOf(name: string, { note, publicKey }: IntroducedKey): KeyIntroduction | null {
  const parsed = parseNote(note);
  const introduction = parsed === null ? null : readIntroduction(parsed);
  if (parsed === null || introduction === null || introduction.name !== name) return null;
  const verifier = { name, publicKey };
  if (introduction.key !== verifierText(verifier) || !isSignedBy(parsed, verifier)) return null;
  if (introduction.replaces === null) return introduction;
  const before = parseVerifier(introduction.replaces);
  return before !== null && isSignedBy(parsed, before) ? introduction : null;
}
