import path from 'node:path';
import type { Config } from './config.ts';
import type { Store } from './db/store.ts';
import { SallyportError } from './errors.ts';
import { verifyJournal, type Verdict } from './journal/verify.ts';
import type { Pace } from './journal/verify-pace.ts';
import type { Vault } from './vault/vault.ts';

/**
 * The journal of this installation against everything that there is here: files, database, the vault's signing key, and a copy of the
 * checkpoints, `DATA_DIR/checkpoints.txt` where no other is named.
 *
 * @param vault null: the ring is not at hand, and the database is believed as to who signs.
 */
export async function checkJournal(
  { dataDir }: Pick<Config, 'dataDir'>,
  deps: {
    readonly store: Pick<Store, 'asSystem'>;
    readonly vault: Pick<Vault, 'signingKeys'> | null;
    readonly since?: Date | null;
    readonly against?: string | null;
    readonly pace?: Pace;
  },
): Promise<Verdict> {
  const { against = null, pace, since = null, store, vault } = deps;
  return verifyJournal({
    dir: path.join(dataDir, 'journal'),
    store,
    since,
    copy:
      against === null
        ? { path: path.join(dataDir, 'checkpoints.txt'), mayBeEmpty: true }
        : { path: against, mayBeEmpty: false },
    activeKey: vault === null ? null : await activeKeyOf(vault),
    ...(pace === undefined ? {} : { pace }),
  });
}

const nobody = Buffer.alloc(32);

/** A row that was changed names nobody: then no checkpoint is signed by the key in use, and `verify` says so of each. */
async function activeKeyOf({ signingKeys }: Pick<Vault, 'signingKeys'>): Promise<Uint8Array | null> {
  try {
    return (await signingKeys.active())?.publicKey ?? null;
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    return error.code === 'KEY_INVALID' ? nobody : null;
  }
}
