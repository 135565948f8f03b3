import type { KekError, KekErrorCode } from './kek-provider.ts';

/** A line for the operator. `code` null: the root key works again. */
export interface KekTrouble {
  readonly rootKeyId: string;
  readonly code: KekErrorCode | null;
  readonly detail: string;
}

/** A key service that is down is told once, and again after so long; not at each call. */
const repeatMs = 60_000;

/** Turns the uses of root keys in key services into what is worth telling: a change, and once a minute that it lasts. */
export function createKekTroubles(deps: {
  readonly clock: () => number;
  readonly tell: (trouble: KekTrouble) => void;
}) {
  const { clock, tell } = deps;
  const told = new Map<string, { readonly code: KekErrorCode; readonly at: number }>();

  return function note(use: { readonly rootKeyId: string; readonly trouble: KekError | null }): void {
    const { rootKeyId, trouble } = use;
    const last = told.get(rootKeyId);
    if (trouble === null) {
      // One workspace that is denied among others that are served: no change.
      if (last === undefined || last.code === 'denied') return;
      told.delete(rootKeyId);
      tell({ rootKeyId, code: null, detail: '' });
      return;
    }
    if (last?.code === trouble.code && Math.abs(clock() - last.at) < repeatMs) return;
    told.set(rootKeyId, { code: trouble.code, at: clock() });
    tell({ rootKeyId, code: trouble.code, detail: trouble.message });
  };
}
