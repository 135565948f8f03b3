import type { Store } from '../db/store.ts';
import { type ErrorCode, SallyportError } from '../errors.ts';
import { isId } from '../ids.ts';
import { hpkeSuite } from '../vault/hpke.ts';
import { intakeInfo } from '../vault/intake-key.ts';
import type { IntakeKey, Vault } from '../vault/vault.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { found, notFound } from './found.ts';
import { type ContentVault, withContent } from './key-content.ts';
import { findDuplicates } from './key-duplicates.ts';
import { createKeyEdit, type KeyChange } from './key-edit.ts';
import { createKeyFind } from './key-find.ts';
import { createKeyIntake, type NewKey } from './key-intake.ts';
import { isRotationDue } from './key-reminders.ts';
import { type Places, readProvider } from './key-place.ts';
import { demandEdit, demandGenuine } from './key-row.ts';
import { etagOf, type KeyRow, type KeyTest, type KeyView, viewKey } from './key-view.ts';
import { visibleKeys } from './key-visibility.ts';
import { invalid } from './moment.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';
import { demand, demandOperator } from './permissions.ts';

export interface KeyFilter extends Page {
  readonly provider?: string | undefined;
  readonly userId?: string | undefined;
  /** Days from now: keys that have not expired and will by then. */
  readonly expiringWithin?: number | undefined;
  /** Whether the value has been in use for longer than its `rotateAfterDays`. */
  readonly rotationDue?: boolean | undefined;
}

/** What one authenticated request to the provider said. */
export type ProbeResult = Omit<KeyTest, 'keyId' | 'testedAt'>;

export interface KeysDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly act: Act;
  readonly vault: ContentVault & Pick<Vault, 'fingerprintOf' | 'intakeKey'>;
  readonly places: Places;
  /**
   * One cheap request with the key, journalled as a use like any other. May throw a SallyportError.
   *
   * @param seal the 32 bytes of the seal that a sealed key is sealed to; the caller wipes them.
   */
  readonly probe: (caller: Caller, key: KeyRow, seal: Buffer | null) => Promise<ProbeResult>;
  readonly clock: () => number;
}

export interface KeyWithEtag {
  readonly key: KeyView;
  readonly etag: string;
}

export interface IntakeKeyView extends IntakeKey {
  readonly suite: string;
  /** HPKE's, as UTF-8; the AAD names the workspace and the provider. */
  readonly info: string;
  readonly workspaceId: string;
  readonly createdAt: string;
  readonly expiresAt: string;
}

export interface ImportedKey {
  readonly id: string;
  readonly provider: string;
  /** False where the same value was stored already. */
  readonly imported: boolean;
}

const dayMs = 24 * 3600 * 1000;

export type Keys = ReturnType<typeof createKeys>;

/** Provider keys, as their users and owners handle them. No function here returns a value, and none can. */
export function createKeys(deps: KeysDeps) {
  const { store, act, vault, places, probe, clock } = deps;
  const intake = createKeyIntake(deps);
  const edit = createKeyEdit(deps);

  return Object.freeze({
    create(
      caller: Caller,
      input: NewKey,
      value: Buffer | null,
      idempotencyKey: string | null = null,
    ): Promise<KeyView> {
      return intake.create(caller, input, value, idempotencyKey, async (id) => (await get(caller, id)).key);
    },

    importManaged,

    /** The same for a value that comes over `/api`. @throws {SallyportError} FORBIDDEN: not the operator; what storing throws. */
    async importFor(
      caller: Caller,
      { provider, ...sent }: { readonly provider: string } & Pick<NewKey, 'sealedValue'>,
      value: Buffer | null,
    ): Promise<ImportedKey> {
      demand(caller, 'keys:write');
      demandOperator(caller, 'Only the operator keeps managed keys.');
      if (provider === 'custom') throw invalid('/provider', 'is for known providers');
      const place = {
        workspaceId: caller.workspaceId,
        provider: readProvider(places, { name: '', provider }),
      };
      return withContent(vault, place, sent, value, ({ secret }) => {
        if (secret === null) throw invalid('/value', 'is required');
        return importManaged(caller, provider, secret);
      });
    },

    find: createKeyFind(deps),

    async list(caller: Caller, filter: KeyFilter): Promise<List<KeyView>> {
      demand(caller, 'keys:read');
      const after = placeOf(filter, [/^key_[0-9a-f]{32}$/]);
      const now = clock();
      const { rows, duplicates } = await store.asWorkspace(caller.workspaceId, async (tx) => {
        let query = visibleKeys(tx, caller).selectAll().orderBy('id', 'desc').limit(rowsToRead(filter));
        if (after !== null) query = query.where('id', '<', after[0]);
        if (filter.provider !== undefined) query = query.where('provider', '=', filter.provider);
        if (filter.userId !== undefined) query = query.where('user_id', '=', filter.userId);
        if (filter.expiringWithin !== undefined) {
          query = query
            .where('expires_at', '>', new Date(now))
            .where('expires_at', '<=', new Date(now + filter.expiringWithin * dayMs));
        }
        if (filter.rotationDue !== undefined)
          query = query.where(isRotationDue(new Date(now)), '=', filter.rotationDue);
        const rows = await query.execute();
        return { rows, duplicates: await findDuplicates(tx, caller, rows) };
      });
      return toList(
        rows,
        filter,
        (row) => [row.id],
        (row) => viewKey(row, caller, now, duplicates),
      );
    },

    get,

    /** What a client seals a value to, so that nothing on its way holds it: to store it, or to look for it. */
    async intakeKey(caller: Caller): Promise<IntakeKeyView> {
      demand(caller, 'usage:read');
      return {
        ...(await vault.intakeKey()),
        suite: hpkeSuite,
        info: intakeInfo,
        workspaceId: caller.workspaceId,
      };
    },

    async update(
      caller: Caller,
      id: string,
      change: KeyChange,
      secret: Buffer | null,
      ifMatch: string | null = null,
    ): Promise<KeyWithEtag> {
      const seen = await readForEdit(caller, id);
      return present(await edit.change(caller, seen, change, secret, ifMatch), caller);
    },

    async remove(
      caller: Caller,
      id: string,
      ifMatch: string | null = null,
    ): Promise<{ readonly id: string; readonly deleted: true; readonly receipt: string }> {
      const seen = await readForEdit(caller, id);
      return { id, deleted: true, receipt: await edit.remove(caller, seen, ifMatch) };
    },

    /**
     * @param seal of a sealed key; the caller wipes it. Without it, or with another, the answer says SEAL_REQUIRED or SEAL_WRONG.
     * @throws {SallyportError} NOT_FOUND, FORBIDDEN, JOURNAL_UNAVAILABLE …; what the provider or the key says against it is in the answer.
     */
    async test(caller: Caller, id: string, seal: Buffer | null = null): Promise<KeyTest> {
      const seen = await readForEdit(caller, id);
      const startedAt = clock();
      const result = await demandGenuine(vault, seen)
        .then(() => {
          if (seen.purpose === 'usage') throw untested(seen);
          return probe(caller, seen, seal);
        })
        .catch((error: unknown) => failedProbe(error, clock() - startedAt));
      const test: KeyTest = { keyId: id, ...result, testedAt: new Date(clock()).toISOString() };
      const fields = {
        keyId: id,
        userId: seen.user_id,
        provider: seen.provider,
        ok: test.ok,
        code: test.code,
      };
      await act(caller, 'key.test', fields, async (tx) => {
        const authFailedAt = test.ok ? null : test.code === 'UPSTREAM_AUTH' ? new Date(clock()) : undefined;
        await tx
          .updateTable('provider_keys')
          .set({
            last_test: JSON.stringify(test),
            ...(authFailedAt === undefined ? {} : { auth_failed_at: authFailedAt }),
          })
          .where('workspace_id', '=', caller.workspaceId)
          .where('id', '=', id)
          // A value that was replaced meanwhile is not the one that was tested.
          .where('version', '=', seen.version)
          .execute();
      });
      return test;
    },
  });

  /**
   * A key of the operator's environment becomes a managed key, or a new version of the one that is there.
   *
   * @returns `imported`: false where the same value was stored already.
   */
  async function importManaged(caller: Caller, provider: string, secret: Buffer): Promise<ImportedKey> {
    const earlier = await store.asWorkspace(caller.workspaceId, async (tx) => {
      const row = await tx
        .selectFrom('provider_keys')
        .selectAll()
        .where('workspace_id', '=', caller.workspaceId)
        .where('source', '=', 'managed')
        .where('provider', '=', provider)
        .orderBy('id', 'desc')
        .executeTakeFirst();
      return row ?? null;
    });
    if (earlier === null) {
      const { id } = await intake.storeManaged(caller, provider, secret);
      return { id, provider, imported: true };
    }
    const isSame = await intake.isSameValue(earlier, secret);
    if (!isSame) await edit.replaceValue(caller, earlier, secret);
    return { id: earlier.id, provider, imported: !isSame };
  }

  async function get(caller: Caller, id: string): Promise<KeyWithEtag> {
    demand(caller, 'keys:read');
    return present(await read(caller, id), caller);
  }

  async function read(caller: Caller, id: string): Promise<KeyRow> {
    if (!isId('key', id)) throw notFound('provider key');
    return found(
      await store.asWorkspace(caller.workspaceId, (tx) =>
        visibleKeys(tx, caller).selectAll().where('provider_keys.id', '=', id).executeTakeFirst(),
      ),
      'provider key',
    );
  }

  async function readForEdit(caller: Caller, id: string): Promise<KeyRow> {
    demand(caller, 'keys:write');
    const row = await read(caller, id);
    demandEdit(caller, row);
    return row;
  }

  async function present(row: KeyRow, caller: Caller): Promise<KeyWithEtag> {
    const duplicates = await store.asWorkspace(caller.workspaceId, (tx) => findDuplicates(tx, caller, [row]));
    return { key: viewKey(row, caller, clock(), duplicates), etag: etagOf(row) };
  }
}

/** A key that can't be opened, or a provider that can't be reached, is what the test was to find out; a closed journal is not. */
function failedProbe(error: unknown, ms: number): ProbeResult {
  if (!(error instanceof SallyportError) || !/^(?:KEY_|UPSTREAM_|EGRESS_|SEAL_)/.test(error.code))
    throw error;
  const code: ErrorCode = error.code;
  return { ok: false, status: null, code, ms, message: `API key test failed: ${error.message}` };
}

/** Such a key opens for nothing that leaves the gateway, and a test is a call. */
function untested({ provider }: KeyRow): SallyportError {
  return new SallyportError(
    'KEY_INVALID',
    `this key administers the account at ${provider}, and no call goes out with it.`,
  );
}
