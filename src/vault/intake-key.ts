import { randomFillSync, timingSafeEqual } from 'node:crypto';
import { sql, type Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { isId, newId, timeOf } from '../ids.ts';
import { secretBuffer, wipe } from '../secret.ts';
import { intakeContext, serviceContext } from './context.ts';
import { createHpke, deriveKeyPair, type HpkeKeyPair } from './hpke.ts';
import { checkSecret } from './intake.ts';
import { createKeyCache } from './key-cache.ts';
import type { KekRing } from './keyring.ts';
import { kinds, VaultError } from './record.ts';

/** The public key that a provider key can be sealed to on its way here. */
export interface IntakeKey {
  readonly id: string;
  /** 32 bytes in base64url. */
  readonly publicKey: string;
  readonly createdAt: string;
  readonly expiresAt: string;
}

export interface IntakePlace {
  readonly workspaceId: string;
  readonly provider: string;
}

export interface IntakeKeys {
  /** Today's; makes it where there is none. @throws {SallyportError} VAULT_SEALED */
  current(): Promise<IntakeKey>;
  /**
   * @param sealedValue  `<id>.<base64url of enc 32 ‖ ciphertext ‖ tag 16>`, up to 16 KiB.
   * @returns the provider key, 8 to 8192 printable bytes; the caller's to wipe.
   * @throws {SallyportError} REQUEST_INVALID, KEY_FORMAT, VAULT_SEALED; never carries the value.
   */
  open(sealedValue: string, place: IntakePlace): Promise<Buffer>;
  sweep(): void;
  close(): void;
}

export const intakeInfo = 'sallyport/v1/intake';
const hpke = createHpke(intakeInfo);
const dayMs = 24 * 60 * 60 * 1000;
/** Handed out for a day, taken for two: whoever fetched one just before midnight still has a day. */
const [handOutMs, acceptMs] = [dayMs, 2 * dayMs];
const maxTextLength = 16_384;
/** One of the application's own advisory locks: two nodes that start a day together make one key. */
const makingLock = 0x53_50_49_4b;

type Row = Pick<Selectable<Schema['intake_keys']>, 'id' | 'public_key' | 'root_key_id' | 'record'>;

/**
 * How long a key is good for is read from the time in its id, which its record is bound to: `created_at` and `expires_at` are for people
 * and for clearing away, and who edits them prolongs nothing.
 */
export function createIntakeKeys(deps: {
  readonly store: Pick<Store, 'asSystem'>;
  readonly ring: KekRing;
  readonly deploymentId: string;
  readonly clock: () => number;
  readonly alarm: (code: string, place: { readonly workspaceId: string; readonly keyId: string }) => void;
}): IntakeKeys {
  const { store, ring, deploymentId, clock, alarm } = deps;
  const pairs = createKeyCache<HpkeKeyPair>({ limit: 16, maxAgeMs: 300_000, clock });
  const isWithin = (id: string, ms: number): boolean => Math.abs(clock() - timeOf(id)) < ms;
  const contextOf = (id: string): Buffer => serviceContext(deploymentId, '', 'intake', id);

  async function read(tx: Tx): Promise<readonly Row[]> {
    return tx
      .selectFrom('intake_keys')
      .select(['id', 'public_key', 'root_key_id', 'record'])
      .orderBy('id', 'desc')
      .limit(16)
      .execute();
  }

  const readAll = (): Promise<readonly Row[]> => store.asSystem(read).catch(outOfReach);

  /** Null: it is not ours to open, or it was changed; the second is an alarm. */
  async function pairOf(row: Row): Promise<HpkeKeyPair | null> {
    const pair = pairs.get(row.id) ?? (await unwrap(row));
    if (pair === null) return null;
    if (timingSafeEqual(pair.publicKey, row.public_key)) {
      pairs.set(row.id, pair);
      return pair;
    }
    alarm('VAULT_TAMPERED', { workspaceId: '', keyId: row.id });
    return null;
  }

  async function unwrap(row: Row): Promise<HpkeKeyPair | null> {
    const root = ring.get(row.root_key_id);
    if (root === null || root.state === 'retired') return null;
    let ikm: Buffer | null = null;
    try {
      ikm = await ring.unwrap(row.root_key_id, kinds.service, contextOf(row.id), row.record);
      if (ikm.length !== 32) throw new VaultError('VAULT_FORMAT', 'an intake key has 32 bytes');
      return deriveKeyPair(ikm);
    } catch (error) {
      if (!(error instanceof VaultError)) return rootOutOfReach(error);
      alarm(error.code, { workspaceId: '', keyId: row.id });
      return null;
    } finally {
      wipe(ikm);
    }
  }

  async function make(): Promise<Row> {
    const id = newId('ik', clock());
    const root_key_id = ring.active().id;
    const ikm = randomFillSync(secretBuffer(32));
    try {
      const { publicKey } = deriveKeyPair(ikm);
      const record = await ring.wrap(root_key_id, kinds.service, contextOf(id), ikm).catch(rootOutOfReach);
      return { id, public_key: publicKey, root_key_id, record };
    } finally {
      wipe(ikm);
    }
  }

  /** @returns the row that is there now: ours, or another node's that was faster. */
  async function keep(ahead: Row, unusable: ReadonlySet<string>): Promise<Row> {
    return store
      .asSystem(async (tx) => {
        await sql`select pg_advisory_xact_lock(${makingLock})`.execute(tx);
        await tx.deleteFrom('intake_keys').where('expires_at', '<', new Date(clock())).execute();
        const other = (await read(tx)).find(({ id }) => isWithin(id, handOutMs) && !unusable.has(id));
        if (other !== undefined) return other;
        // The deletion's lock is one that whoever retires a root key waits for: it has been promoted away by now, or our row will count.
        let mine = ahead;
        while (mine.root_key_id !== ring.active().id) mine = await make();
        const at = timeOf(mine.id);
        const row = { ...mine, created_at: new Date(at), expires_at: new Date(at + acceptMs) };
        await tx.insertInto('intake_keys').values(row).execute();
        return mine;
      })
      .catch(outOfReach);
  }

  return Object.freeze({
    async current() {
      const unusable = new Set<string>();
      for (const row of await readAll()) {
        if (!isWithin(row.id, handOutMs)) continue;
        if ((await pairOf(row)) !== null) return told(row);
        unusable.add(row.id);
      }
      // Wrapped before the transaction: a key service must not keep one waiting.
      const row = await keep(await make(), unusable);
      if ((await pairOf(row)) === null)
        throw new SallyportError('VAULT_SEALED', 'The intake key of another node does not open here.');
      return told(row);
    },
    async open(sealedValue: string, { workspaceId, provider }: IntakePlace) {
      const { id, sealed } = parse(sealedValue);
      const row = isWithin(id, acceptMs) ? (await readAll()).find((row) => row.id === id) : undefined;
      const pair = row === undefined ? null : await pairOf(row);
      if (pair === null) {
        throw new SallyportError(
          'REQUEST_INVALID',
          'sealedValue was made with an intake key that is not in use.',
          {
            fix: 'Get today’s from GET /api/intake-key and seal the key anew.',
          },
        );
      }
      return openIntakeValue(pair, sealed, { workspaceId, provider });
    },
    sweep: () => pairs.sweep(),
    close: () => pairs.clear(),
  });
}

/** @returns the provider key, the caller's to wipe. @throws {SallyportError} REQUEST_INVALID, KEY_FORMAT */
export function openIntakeValue(pair: HpkeKeyPair, sealed: Uint8Array, place: IntakePlace): Buffer {
  const secret = hpke.open(pair, intakeContext(place), sealed);
  if (secret === null) {
    throw new SallyportError(
      'REQUEST_INVALID',
      'sealedValue does not open: it was made for another workspace or provider, or changed on the way.',
    );
  }
  try {
    checkSecret(secret);
    return secret;
  } catch (error) {
    wipe(secret);
    throw error;
  }
}

function told({ id, public_key }: Row): IntakeKey {
  const at = timeOf(id);
  return {
    id,
    publicKey: public_key.toString('base64url'),
    createdAt: new Date(at).toISOString(),
    expiresAt: new Date(at + acceptMs).toISOString(),
  };
}

function parse(text: string): { readonly id: string; readonly sealed: Buffer } {
  const dot = text.indexOf('.');
  const [id, body] = [text.slice(0, Math.max(dot, 0)), text.slice(dot + 1)];
  if (text.length > maxTextLength || !isId('ik', id) || !/^[A-Za-z0-9_-]+$/.test(body)) {
    throw new SallyportError(
      'REQUEST_INVALID',
      'sealedValue must be "<id of the intake key>.<base64url of enc and ciphertext>", 16 KiB at most.',
    );
  }
  return { id, sealed: Buffer.from(body, 'base64url') };
}

function outOfReach(cause: unknown): never {
  // Of the root key, within a transaction: no fault of the database's.
  if (cause instanceof SallyportError) throw cause;
  throw new SallyportError('VAULT_SEALED', 'The intake keys cannot be read now.', {
    fix: 'The database is out of reach; try again shortly.',
    cause,
  });
}

function rootOutOfReach(cause: unknown): never {
  throw new SallyportError('VAULT_SEALED', 'The root key cannot be used now.', { cause });
}
