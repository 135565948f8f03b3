import { randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import type { Store } from '../../src/db/store.ts';
import { newId } from '../../src/ids.ts';
import { workspaceKeyContext } from '../../src/vault/context.ts';
import type { KekRing } from '../../src/vault/keyring.ts';
import { kinds } from '../../src/vault/record.ts';

const rowsAtOnce = 1000;

/** Workspaces with a key each under the ring's active root key, and nothing else in them; thousands in a second. @returns their ids */
export async function addWorkspaces(
  deps: { readonly store: Pick<Store, 'asWorkspace'>; readonly ring: KekRing; readonly deploymentId: string },
  count: number,
): Promise<string[]> {
  const { store, ring, deploymentId } = deps;
  const rootKeyId = ring.active().id;
  const all: string[] = [];
  for (let left = count; left > 0; left -= rowsAtOnce) {
    const ids = Array.from({ length: Math.min(left, rowsAtOnce) }, () => newId('ws'));
    const rows = await Promise.all(
      ids.map(async (id) => {
        const context = workspaceKeyContext({ deploymentId, workspaceId: id, version: 1, rootKeyId });
        const record = await ring.wrap(rootKeyId, kinds.workspaceKey, context, randomBytes(32));
        return { id, record: record.toString('hex') };
      }),
    );
    // Row security lets a transaction write the one workspace that it names: so each is named before its rows.
    const block = `declare made record;
      begin
        for made in select * from jsonb_to_recordset('${JSON.stringify(rows)}') as m (id text, record text) loop
          perform set_config('sallyport.workspace', made.id, true);
          insert into workspaces (id, name) values (made.id, 'one of many');
          insert into workspace_keys (workspace_id, version, root_key_id, record)
            values (made.id, 1, '${rootKeyId}', decode(made.record, 'hex'));
        end loop;
      end`;
    await store.asWorkspace(ids[0] as string, (tx) => sql`do ${sql.lit(block)}`.execute(tx));
    all.push(...ids);
  }
  return all;
}
