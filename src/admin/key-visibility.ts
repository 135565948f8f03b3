import { type ExpressionBuilder, type ExpressionWrapper, type SqlBool, sql } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Tx } from '../db/store.ts';
import type { Caller } from './caller.ts';
import { can } from './permissions.ts';

type Condition = (
  eb: ExpressionBuilder<Schema, 'provider_keys'>,
) => ExpressionWrapper<Schema, 'provider_keys', SqlBool>;

/** Own, shared with him, or managed where the workspace has that switched on: the gateway's rule (VAULT.md, "Whose key pays"). */
export function isUsableBy(userId: string): Condition {
  return (eb) =>
    eb.or([
      eb('user_id', '=', userId),
      eb(sql`shared_with`, '=', sql`'"workspace"'::jsonb`),
      eb(sql`shared_with`, '@>', sql`to_jsonb(array[${userId}::text])`),
      eb.and([
        eb('source', '=', 'managed'),
        eb.exists(
          eb
            .selectFrom('workspaces')
            .select('workspaces.id')
            .whereRef('workspaces.id', '=', 'provider_keys.workspace_id')
            .where('workspaces.managed_keys', '=', true),
        ),
      ]),
    ]);
}

/** The keys that a caller sees: his workspace's for owners and admins, else those that he may use. */
export function visibleKeys(tx: Tx, caller: Caller) {
  const all = tx.selectFrom('provider_keys').where('workspace_id', '=', caller.workspaceId);
  return can(caller.role, 'keys:all') ? all : all.where(isUsableBy(caller.userId));
}
