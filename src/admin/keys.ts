import type { Store } from '../db/store.ts';
import { type ErrorCode, SallyportError } from '../errors.ts';
import { isId } from '../ids.ts';
import type { Vault } from '../vault/vault.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { found, notFound } from './found.ts';
import { createKeyEdit, type KeyChange } from './key-edit.ts';
import { createKeyIntake, type NewKey } from './key-intake.ts';
import type { Places } from './key-place.ts';
import { demandEdit, demandGenuine } from './key-row.ts';
import { etagOf, type KeyRow, type KeyTest, type KeyView, viewKey } from './key-view.ts';
import { visibleKeys } from './key-visibility.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';
import { demand } from './permissions.ts';

export interface KeyFilter extends Page {
  readonly provider?: string | undefined;
  readonly userId?: string | undefined;
}

/** What one authenticated request to the provider said. */
export type ProbeResult = Omit<KeyTest, 'keyId' | 'testedAt'>;

export interface KeysDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly act: Act;
  readonly vault: Pick<Vault, 'sealSecret' | 'rowMac' | 'checkRowMac'>;
  readonly places: Places;
  /** One cheap request with the key, journalled as a use like any other. May throw a SallyportError. */
  readonly probe: (caller: Caller, key: KeyRow) => Promise<ProbeResult>;
  readonly clock: () => number;
}

export interface KeyWithEtag {
  readonly key: KeyView;
  readonly etag: string;
}

export type Keys = ReturnType<typeof createKeys>;

/** Provider keys, as their users and owners handle them. No function here returns a value, and none can. */
export function createKeys(deps: KeysDeps) {
  const { store, act, vault, probe, clock } = deps;
  const intake = createKeyIntake(deps);
  const edit = createKeyEdit(deps);

  return Object.freeze({
    create(
      caller: Caller,
      input: NewKey,
      secret: Buffer | null,
      idempotencyKey: string | null = null,
    ): Promise<KeyView> {
      return intake.create(caller, input, secret, idempotencyKey, async (id) => (await get(caller, id)).key);
    },

    /**
     * A key of the operator's environment becomes a managed key, or a new version of the one that is there.
     *
     * @returns `imported`: false where the same value was stored already.
     */
    async importManaged(
      caller: Caller,
      provider: string,
      secret: Buffer,
    ): Promise<{ readonly id: string; readonly provider: string; readonly imported: boolean }> {
      const earlier = await store.asWorkspace(caller.workspaceId, async (tx) => {
        const row = await tx
          .selectFrom('provider_keys')
          .selectAll()
          .where('workspace_id', '=', caller.workspaceId)
          .where('source', '=', 'managed')
          .where('provider', '=', provider)
          .orderBy('id', 'desc')
          .executeTakeFirst();
        return row === undefined ? null : { row, isSame: await intake.isSameValue(tx, row, secret) };
      });
      if (earlier === null) {
        const { id } = await intake.storeManaged(caller, provider, secret);
        return { id, provider, imported: true };
      }
      if (!earlier.isSame) await edit.replaceValue(caller, earlier.row, secret);
      return { id: earlier.row.id, provider, imported: !earlier.isSame };
    },

    async list(caller: Caller, filter: KeyFilter): Promise<List<KeyView>> {
      demand(caller, 'keys:read');
      const after = placeOf(filter, [/^key_[0-9a-f]{32}$/]);
      const rows = await store.asWorkspace(caller.workspaceId, (tx) => {
        let query = visibleKeys(tx, caller).selectAll().orderBy('id', 'desc').limit(rowsToRead(filter));
        if (after !== null) query = query.where('id', '<', after[0]);
        if (filter.provider !== undefined) query = query.where('provider', '=', filter.provider);
        if (filter.userId !== undefined) query = query.where('user_id', '=', filter.userId);
        return query.execute();
      });
      return toList(
        rows,
        filter,
        (row) => [row.id],
        (row) => viewKey(row, caller, clock()),
      );
    },

    get,

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

    /** @throws {SallyportError} NOT_FOUND, FORBIDDEN, JOURNAL_UNAVAILABLE …; what the provider or the key says against it is in the answer. */
    async test(caller: Caller, id: string): Promise<KeyTest> {
      const seen = await readForEdit(caller, id);
      const startedAt = clock();
      const result = await demandGenuine(vault, seen)
        .then(() => probe(caller, seen))
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

  function present(row: KeyRow, caller: Caller): KeyWithEtag {
    return { key: viewKey(row, caller, clock()), etag: etagOf(row) };
  }
}

/** A key that can't be opened, or a provider that can't be reached, is what the test was to find out; a closed journal is not. */
function failedProbe(error: unknown, ms: number): ProbeResult {
  if (!(error instanceof SallyportError) || !/^(?:KEY_|UPSTREAM_|EGRESS_|SEAL_)/.test(error.code))
    throw error;
  const code: ErrorCode = error.code;
  return { ok: false, status: null, code, ms, message: `API key test failed: ${error.message}` };
}
