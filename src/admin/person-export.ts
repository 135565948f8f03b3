import type { Store, Tx } from '../db/store.ts';
import { isId } from '../ids.ts';
import { viewAlert } from './alerts.ts';
import type { Audit } from './audit.ts';
import type { Caller } from './caller.ts';
import type { Export, Exports } from './exports.ts';
import { notFound } from './found.ts';
import { viewKey } from './key-view.ts';
import { iso } from './moment.ts';
import { can, demand } from './permissions.ts';
import { viewToken } from './token-view.ts';
import type { Users } from './users.ts';

/** One thing that is kept about a person. */
export interface PersonPart {
  readonly kind: 'user' | 'membership' | 'token' | 'key' | 'seal' | 'alert' | 'record';
  readonly data: object;
}

export interface PersonExportDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly exports: Exports;
  readonly audit: Pick<Audit, 'pages'>;
  readonly users: Pick<Users, 'get'>;
  readonly clock: () => number;
}

export type PersonExport = ReturnType<typeof createPersonExport>;

/** Rows of one table at once; the next ones follow by their ids. */
const pageRows = 250;

/** Everything that is kept about a user, for himself and for who may write users; provider keys without what they are. */
export function createPersonExport({ store, exports, audit, users, clock }: PersonExportDeps) {
  return async function exportPerson(caller: Caller, id: string): Promise<Export<PersonPart>> {
    demand(caller, 'users:read');
    if (!isId('usr', id) || (id !== caller.userId && !can(caller.role, 'users:all'))) throw notFound('user');
    const user = await users.get(caller, id);
    if (id !== caller.userId) demand(caller, 'users:write');
    return exports.open(caller, 'person', 'jsonl', { userId: id }, async function* () {
      yield [{ kind: 'user', data: user }];
      for (const [kind, read] of Object.entries(tables(caller, id)) as [PersonPart['kind'], Read][])
        yield* pagesOf(caller, kind, read);
      // What he sees at /api/audit, whatever his role is.
      for await (const records of audit.pages({ ...caller, userId: id, role: 'member' }))
        yield records.map((data) => ({ kind: 'record' as const, data }));
    });
  };

  type Read = (tx: Tx, after: string) => Promise<readonly { id: string; data: object }[]>;

  async function* pagesOf(
    caller: Caller,
    kind: PersonPart['kind'],
    read: Read,
  ): AsyncGenerator<readonly PersonPart[], void> {
    for (let after = ''; ;) {
      const rows = await store.asWorkspace(caller.workspaceId, (tx) => read(tx, after));
      if (rows.length > 0) yield rows.map(({ data }) => ({ kind, data }));
      if (rows.length < pageRows) return;
      after = rows.at(-1)?.id ?? '';
    }
  }

  function tables({ workspaceId }: Caller, userId: string): Readonly<Record<string, Read>> {
    return {
      membership: async (tx, after) =>
        (
          await tx
            .selectFrom('memberships')
            .select(['user_id', 'role', 'created_at'])
            .where('workspace_id', '=', workspaceId)
            .where('user_id', '=', userId)
            .where('user_id', '>', after)
            .execute()
        ).map(({ user_id, role, created_at }) => ({
          id: user_id,
          data: { role, createdAt: iso(created_at) },
        })),
      token: async (tx, after) =>
        (
          await tx
            .selectFrom('tokens')
            .selectAll()
            .where('workspace_id', '=', workspaceId)
            .where('user_id', '=', userId)
            .where('id', '>', after)
            .orderBy('id')
            .limit(pageRows)
            .execute()
        ).map((row) => ({ id: row.id, data: viewToken(row, clock()) })),
      key: async (tx, after) =>
        (
          await tx
            .selectFrom('provider_keys')
            .selectAll()
            .where('workspace_id', '=', workspaceId)
            .where('user_id', '=', userId)
            .where('id', '>', after)
            .orderBy('id')
            .limit(pageRows)
            .execute()
        ).map((row) => ({ id: row.id, data: viewKey(row, { userId }, clock(), new Map()) })),
      seal: async (tx, after) =>
        (
          await tx
            .selectFrom('seals')
            .select(['id', 'name', 'created_at'])
            .where('workspace_id', '=', workspaceId)
            .where('created_by', '=', userId)
            .where('id', '>', after)
            .orderBy('id')
            .limit(pageRows)
            .execute()
        ).map(({ id, name, created_at }) => ({ id, data: { id, name, createdAt: iso(created_at) } })),
      alert: async (tx, after) =>
        (
          await tx
            .selectFrom('alerts')
            .selectAll()
            .where('workspace_id', '=', workspaceId)
            .where('user_id', '=', userId)
            .where('id', '>', after)
            .orderBy('id')
            .limit(pageRows)
            .execute()
        ).map((row) => ({ id: row.id, data: viewAlert(row) })),
    };
  }
}
