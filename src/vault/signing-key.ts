import {
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  randomFillSync,
  sign,
  timingSafeEqual,
} from 'node:crypto';
import { sql } from 'kysely';
import type { Store } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { newId } from '../ids.ts';
import { secretBuffer, wipe } from '../secret.ts';
import { serviceContext } from './context.ts';
import { createKeyCache } from './key-cache.ts';
import type { KekRing } from './keyring.ts';
import { kinds, VaultError } from './record.ts';

/** The deployment's key for checkpoints and other notes: Ed25519 (RFC 8032), the private half sealed under a root key. */
export interface Signer {
  readonly id: string;
  /** 32 bytes. */
  readonly publicKey: Buffer;
  /** 64 bytes over these, which are not hashed before. */
  sign(bytes: Uint8Array): Buffer;
}

/** One that was just made: in memory alone until `keep`. */
export interface NewSigner extends Signer {
  readonly rootKeyId: string;
  readonly record: Buffer;
}

/** A public key of the present or of the past, as its row has it: whoever believes it checks the notes that introduce them. */
export interface SigningKey {
  readonly id: string;
  readonly publicKey: Buffer;
  /** Signed by this key, and by the one that it took over from. */
  readonly note: string;
  readonly createdAt: Date;
  readonly retiredAt: Date | null;
}

export interface SigningKeys {
  /** The one that signs now; null: none was made yet. @throws {SallyportError} VAULT_SEALED; KEY_INVALID: its row was changed (an alarm). */
  active(): Promise<Signer | null>;
  /** Wraps it, which may ask a key service; stores nothing. @throws {SallyportError} VAULT_SEALED */
  make(): Promise<NewSigner>;
  /**
   * From now on this one signs. The private half of the one that it takes over from is deleted: nobody forges with it what it has not signed.
   *
   * @throws {SallyportError} CONFLICT: another one took over meanwhile.
   */
  keep(fresh: NewSigner, note: string, replaces: string | null): Promise<void>;
  /** All, oldest first. */
  list(): Promise<readonly SigningKey[]>;
  sweep(): void;
  close(): void;
}

const seedBytes = 32;
/** As many rotations as anybody makes. */
const maxKeys = 1000;

export function createSigningKeys(deps: {
  readonly store: Pick<Store, 'asSystem'>;
  readonly ring: KekRing;
  readonly deploymentId: string;
  readonly clock: () => number;
  readonly alarm: (code: string, place: { readonly workspaceId: string; readonly keyId: string }) => void;
}): SigningKeys {
  const { store, ring, deploymentId, clock, alarm } = deps;
  const opened = createKeyCache<Signer>({ limit: 4, maxAgeMs: 300_000, clock });
  const contextOf = (id: string): Buffer => serviceContext(deploymentId, '', 'signing', id);

  async function open(id: string, rootKeyId: string, record: Buffer): Promise<Signer> {
    let seed: Buffer | null = null;
    try {
      seed = await ring.unwrap(rootKeyId, kinds.service, contextOf(id), record);
      if (seed.length !== seedBytes) throw new VaultError('VAULT_FORMAT', 'a signing key has 32 bytes');
      return signerOf(id, seed);
    } catch (error) {
      if (!(error instanceof VaultError)) return outOfReach(error);
      return changed(id, error.code);
    } finally {
      wipe(seed);
    }
  }

  function changed(id: string, code: string): never {
    alarm(code, { workspaceId: '', keyId: id });
    throw new SallyportError('KEY_INVALID', `The signing key ${id} does not open: its row was changed.`, {
      fix: 'Put the row of signing_keys back as it was, from a backup.',
    });
  }

  return Object.freeze<SigningKeys>({
    async active() {
      const row = await store.asSystem((tx) =>
        tx.selectFrom('signing_keys').selectAll().where('retired_at', 'is', null).executeTakeFirst(),
      );
      if (row === undefined) return null;
      const { id, public_key, record, root_key_id } = row;
      if (record === null || root_key_id === null) return changed(id, 'VAULT_FORMAT');
      const signer = opened.get(id) ?? (await open(id, root_key_id, record));
      if (!timingSafeEqual(signer.publicKey, public_key)) return changed(id, 'VAULT_TAMPERED');
      opened.set(id, signer);
      return signer;
    },
    async make() {
      const id = newId('sgn', clock());
      const rootKeyId = ring.active().id;
      const seed = randomFillSync(secretBuffer(seedBytes));
      try {
        const record = await ring.wrap(rootKeyId, kinds.service, contextOf(id), seed).catch(outOfReach);
        return Object.freeze({ ...signerOf(id, seed), rootKeyId, record });
      } finally {
        wipe(seed);
      }
    },
    async keep({ id, publicKey, record, rootKeyId }, note, replaces) {
      await store.asSystem(async (tx) => {
        const at = new Date(clock());
        const { numUpdatedRows } = await tx
          .updateTable('signing_keys')
          .set({ retired_at: at, record: null, root_key_id: null })
          .where('retired_at', 'is', null)
          .where('id', '=', replaces ?? '')
          .executeTakeFirst();
        const { rows } =
          await sql`insert into signing_keys (id, public_key, root_key_id, record, note, created_at)
          values (${id}, ${publicKey}, ${rootKeyId}, ${record}, ${note}, ${at})
          on conflict do nothing returning id`.execute(tx);
        if (Number(numUpdatedRows) !== (replaces === null ? 0 : 1) || rows.length === 0) {
          throw new SallyportError('CONFLICT', 'Another signing key was made at the same time.', {
            fix: 'Look which one signs now: bin/sallyport journal keys',
          });
        }
        // Whoever retires the old root key counts its rows under a lock: this one, or the ring here is another by now.
        if (ring.active().id !== rootKeyId) outOfReach(null);
      });
    },
    async list() {
      const rows = await store.asSystem((tx) =>
        tx
          .selectFrom('signing_keys')
          .select(['id', 'public_key', 'note', 'created_at', 'retired_at'])
          .orderBy('created_at')
          .orderBy('id')
          .limit(maxKeys)
          .execute(),
      );
      return rows.map(({ id, public_key, note, created_at, retired_at }) => ({
        id,
        publicKey: public_key,
        note,
        createdAt: created_at,
        retiredAt: retired_at,
      }));
    },
    sweep: () => opened.sweep(),
    close: () => opened.clear(),
  });
}

/** @param seed stays the caller's to wipe. */
function signerOf(id: string, seed: Buffer): Signer {
  const key = privateKeyOf(seed);
  return Object.freeze({
    id,
    publicKey: createPublicKey(key).export({ format: 'raw-public' }),
    sign: (bytes: Uint8Array) => sign(null, bytes, key),
  });
}

/** The public half of a seed of 32 bytes, which stays the caller's to wipe. */
export function signingPublicKeyOf(seed: Buffer): Buffer {
  return createPublicKey(privateKeyOf(seed)).export({ format: 'raw-public' });
}

function privateKeyOf(seed: Buffer): KeyObject {
  return createPrivateKey({ key: seed, format: 'raw-private', asymmetricKeyType: 'ed25519' });
}

function outOfReach(cause: unknown): never {
  if (cause instanceof SallyportError) throw cause;
  throw new SallyportError('VAULT_SEALED', 'The root key of the signing key cannot be used now.', { cause });
}
