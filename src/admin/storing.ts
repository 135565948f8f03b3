import { SallyportError } from '../errors.ts';
import { invalid } from './moment.ts';

/** The preference whether provider keys are kept here at all. To switch it off shreds those that are. */
export interface StoringChange {
  readonly storeKeys?: boolean | undefined;
  readonly confirm?: 'shred' | undefined;
}

/** @throws {SallyportError} REQUEST_INVALID: there is nothing to confirm. */
export function checkConfirm({ storeKeys }: StoringChange, confirm: StoringChange['confirm']): void {
  if (confirm !== undefined && storeKeys !== false) throw invalid('/confirm', 'is for storeKeys false');
}

/** @throws {SallyportError} CONFLICT, saying how many keys would go. */
export function demandConfirm(count: number, confirm: StoringChange['confirm'], whose: string): void {
  if (count === 0 || confirm === 'shred') return;
  const what = count === 1 ? 'A provider key is' : `${count} provider keys are`;
  throw new SallyportError('CONFLICT', `${what} stored for ${whose}, and would be shredded.`, {
    fix: 'Send "confirm":"shred" to shred them at once and for good; ?dryRun=true lists them.',
  });
}
