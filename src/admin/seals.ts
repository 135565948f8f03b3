import type { SealDerivation } from '../db/schema.ts';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { newId } from '../ids.ts';
import { isDerivation } from '../vault/seal-derivation.ts';
import { isPublicKey } from '../vault/x25519.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { createOnce, onceOf } from './idempotency.ts';
import { invalid, iso } from './moment.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';
import { can, demand } from './permissions.ts';
import { createReseal, type ResealDeps } from './reseal.ts';
import {
  forgedSeal,
  isGenuineSeal,
  lockSealRow,
  macOfSeal,
  readSealRow,
  type SealMacs,
  type SealRow,
} from './seal-row.ts';

/** A seal as its workspace sees it. Its secret is not here: whoever made the seal has it, and nobody else. */
export interface SealView {
  readonly id: string;
  readonly workspaceId: string;
  readonly name: string;
  /** base64url, 32 bytes. */
  readonly publicKey: string;
  /** How the secret comes from a passphrase; null: it was random. */
  readonly derivation: SealDerivation | null;
  readonly createdBy: string;
  /** Provider keys sealed to it now. */
  readonly keys: number;
  readonly createdAt: string;
}

export interface NewSeal {
  readonly name: string;
  readonly publicKey: string;
  readonly derivation?: SealDerivation | null | undefined;
}

export interface SealsDeps extends ResealDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly act: Act;
  readonly vault: SealMacs & ResealDeps['vault'];
  readonly clock: () => number;
  /** A row whose MAC is wrong was written round us: alarm. */
  readonly onForgedRow: (table: string, id: string) => void;
}

export type Seals = ReturnType<typeof createSeals>;

/** Public keys to which provider keys are sealed. They are the workspace's, as keys are sealed to what a team shares too. */
export function createSeals(deps: SealsDeps) {
  const { store, act, vault, clock, onForgedRow } = deps;

  return Object.freeze({
    /** @throws {SallyportError} REQUEST_INVALID (a public key of low order, a weak derivation), CONFLICT. */
    async create(caller: Caller, input: NewSeal, idempotencyKey: string | null = null): Promise<SealView> {
      demand(caller, 'seals:write');
      const publicKey = readPublicKey(input.publicKey);
      const derivation = readDerivation(input.derivation ?? null);
      return createOnce(store, caller, onceOf(idempotencyKey, 'seal', input), clock(), {
        create: async (remember) => {
          const now = clock();
          const bare: Omit<SealRow, 'mac'> = {
            id: newId('seal', now),
            workspace_id: caller.workspaceId,
            created_by: caller.userId,
            name: input.name,
            public_key: publicKey,
            derivation,
            created_at: new Date(now),
          };
          const row: SealRow = { ...bare, mac: await macOfSeal(vault, bare) };
          await act(caller, 'seal.create', { sealId: row.id, userId: caller.userId }, async (tx) => {
            await tx
              .insertInto('seals')
              .values({ ...row, derivation: JSON.stringify(derivation) })
              .execute();
            await remember(tx, row.id);
          });
          return view(row, 0);
        },
        replay: (id) => get(caller, id),
      });
    },

    /** Without rows that were written round us: nobody is to seal anything to them. */
    async list(caller: Caller, page: Page): Promise<List<SealView>> {
      demand(caller, 'seals:read');
      const after = placeOf(page, [/^seal_[0-9a-f]{32}$/]);
      const { rows, counts } = await store.asWorkspace(caller.workspaceId, async (tx) => {
        let query = tx
          .selectFrom('seals')
          .selectAll()
          .where('workspace_id', '=', caller.workspaceId)
          .orderBy('id', 'desc')
          .limit(rowsToRead(page));
        if (after !== null) query = query.where('id', '<', after[0]);
        const rows = await query.execute();
        return { rows, counts: await countKeys(tx, caller.workspaceId, rows) };
      });
      const { data, nextCursor } = toList(
        rows,
        page,
        (row) => [row.id],
        (row) => row,
      );
      const genuine: SealView[] = [];
      for (const row of data) {
        if (await isGenuineSeal(vault, row)) genuine.push(view(row, counts.get(row.id) ?? 0));
        else onForgedRow('seals', row.id);
      }
      return { data: genuine, nextCursor };
    },

    get,

    /**
     * Also a row that was tampered with: to be rid of it is always right.
     *
     * @throws {SallyportError} NOT_FOUND; FORBIDDEN: another's; CONFLICT: keys are sealed to it.
     */
    async remove(
      caller: Caller,
      id: string,
    ): Promise<{ readonly id: string; readonly deleted: true; readonly receipt: string }> {
      demand(caller, 'seals:write');
      const seen = await store.asWorkspace(caller.workspaceId, (tx) =>
        readSealRow(tx, caller.workspaceId, id),
      );
      const fields = { sealId: id, userId: seen.created_by };
      const { receipt } = await act(caller, 'seal.delete', fields, async (tx) => {
        // A key that is being sealed to it meanwhile waits, and then finds it gone.
        const row = await lockSealRow(tx, caller.workspaceId, id);
        if (row.created_by !== caller.userId && !can(caller.role, 'keys:all')) {
          throw new SallyportError('FORBIDDEN', 'This seal is another’s: who made it deletes it.');
        }
        const keys = (await countKeys(tx, caller.workspaceId, [row])).get(id) ?? 0;
        if (keys > 0) throw inUse(keys);
        await tx
          .deleteFrom('seals')
          .where('workspace_id', '=', caller.workspaceId)
          .where('id', '=', id)
          .execute();
      });
      return { id, deleted: true, receipt };
    },

    reseal: createReseal(deps),
  });

  async function get(caller: Caller, id: string): Promise<SealView> {
    demand(caller, 'seals:read');
    const { row, keys } = await store.asWorkspace(caller.workspaceId, async (tx) => {
      const row = await readSealRow(tx, caller.workspaceId, id);
      return { row, keys: (await countKeys(tx, caller.workspaceId, [row])).get(id) ?? 0 };
    });
    if (await isGenuineSeal(vault, row)) return view(row, keys);
    onForgedRow('seals', row.id);
    throw forgedSeal();
  }
}

function readPublicKey(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64url');
  if (bytes.toString('base64url') === text && isPublicKey(bytes)) return bytes;
  throw invalid(
    '/publicKey',
    'has to be an X25519 public key: base64url of 32 bytes, and no point of low order',
  );
}

function readDerivation(derivation: SealDerivation | null): SealDerivation | null {
  if (derivation === null || isDerivation(derivation)) return derivation;
  throw invalid(
    '/derivation',
    'has to be argon2id with a salt of 16 to 64 bytes, 19 MiB and 2 passes or more',
  );
}

async function countKeys(
  tx: Tx,
  workspaceId: string,
  seals: readonly Pick<SealRow, 'id'>[],
): Promise<ReadonlyMap<string, number>> {
  if (seals.length === 0) return new Map();
  const rows = await tx
    .selectFrom('provider_keys')
    .select(['seal_id', (eb) => eb.fn.countAll<bigint>().as('count')])
    .where('workspace_id', '=', workspaceId)
    .where(
      'seal_id',
      'in',
      seals.map(({ id }) => id),
    )
    .groupBy('seal_id')
    .execute();
  return new Map(rows.map(({ seal_id, count }) => [seal_id ?? '', Number(count)]));
}

function inUse(keys: number): SallyportError {
  return new SallyportError(
    'CONFLICT',
    keys === 1 ? 'A provider key is sealed to it.' : `${keys} provider keys are sealed to it.`,
    { fix: 'Re-seal them to another seal, or delete them: without its seal no sealed key opens.' },
  );
}

function view(row: SealRow, keys: number): SealView {
  const { id, workspace_id: workspaceId, name, derivation, created_by: createdBy } = row;
  const publicKey = row.public_key.toString('base64url');
  return { id, workspaceId, name, publicKey, derivation, createdBy, keys, createdAt: iso(row.created_at) };
}
