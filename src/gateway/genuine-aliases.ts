import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import { createBoundedMap } from '../limits/bounded-map.ts';
import { aliasMacFields } from '../vault/row-macs.ts';
import type { Vault } from '../vault/vault.ts';
import type { ModelAlias } from './snapshot.ts';

type AliasRow = Selectable<Schema['model_aliases']>;

export interface GenuineAliasesDeps {
  readonly vault: Pick<Vault, 'checkRowMac'>;
  readonly onForgedRow: (table: string, id: string) => void;
}

/** Workspaces whose aliases are remembered. */
const maxWorkspaces = 1000;

/**
 * The aliases of a workspace that have a MAC of ours. A workspace may have hundreds, and each token's snapshot has them all: as long as
 * the rows stay the same all snapshots share one array, which is checked and sorted once.
 */
export function createGenuineAliases({ vault, onForgedRow }: GenuineAliasesDeps) {
  const known = createBoundedMap<{
    readonly rows: readonly AliasRow[];
    readonly aliases: readonly ModelAlias[];
  }>(maxWorkspaces, () => true);

  return async function genuineAliases(
    workspaceId: string,
    rows: readonly AliasRow[],
  ): Promise<readonly ModelAlias[]> {
    const before = known.get(workspaceId);
    if (before !== undefined && isSame(before.rows, rows)) return before.aliases;
    const aliases: ModelAlias[] = [];
    for (const row of rows) {
      if (await vault.checkRowMac(workspaceId, 'model_aliases', aliasMacFields(row), row.mac))
        aliases.push({ alias: row.alias, target: row.target });
      else onForgedRow('model_aliases', row.id);
    }
    // A forged row is told of at every reading.
    if (aliases.length === rows.length) known.set(workspaceId, { rows, aliases });
    return aliases;
  };
}

function isSame(a: readonly AliasRow[], b: readonly AliasRow[]): boolean {
  return (
    a.length === b.length &&
    a.every((row, i) => {
      const { id, workspace_id, alias, target, mac } = b[i] as AliasRow;
      return (
        row.id === id &&
        row.workspace_id === workspace_id &&
        row.alias === alias &&
        row.target === target &&
        row.mac.equals(mac)
      );
    })
  );
}
