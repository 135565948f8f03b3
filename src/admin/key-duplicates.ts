import type { Tx } from '../db/store.ts';
import type { Caller } from './caller.ts';
import type { Duplicates, KeyRow } from './key-view.ts';
import { visibleKeys } from './key-visibility.ts';

/** Of one value: who stores it a hundred times learns that it is often enough. */
const mostShown = 100;

/** Keys with the same value as one of `rows`. Told by the workspace's fingerprint, so that no value is opened. A payload that its sender sealed himself has none. */
export async function findDuplicates(
  tx: Tx,
  caller: Caller,
  rows: readonly Pick<KeyRow, 'id' | 'fingerprint'>[],
): Promise<Duplicates> {
  const fingerprints = [...new Set(rows.map((row) => row.fingerprint).filter((one) => one !== null))];
  if (fingerprints.length === 0) return new Map();
  const same = await visibleKeys(tx, caller)
    .select(['id', 'fingerprint'])
    .where('fingerprint', 'in', fingerprints)
    .orderBy('id')
    .execute();
  const byFingerprint = Map.groupBy(same, (row) => row.fingerprint);
  return new Map(
    rows.map((row) => {
      const others = row.fingerprint === null ? [] : (byFingerprint.get(row.fingerprint) ?? []);
      return [
        row.id,
        others
          .map(({ id }) => id)
          .filter((id) => id !== row.id)
          .slice(0, mostShown),
      ];
    }),
  );
}
