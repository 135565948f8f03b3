import type { CheckpointKeys, IntroducedKey } from '../journal/checkpoint-keys.ts';
import { verifierText } from '../journal/note.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { iso } from './moment.ts';
import type { List } from './paging.ts';
import { demand, demandOperator } from './permissions.ts';

/** A public key that checkpoints are signed with, or were. */
export interface SigningKeyView {
  readonly id: string;
  /** What a checker pins: `<name>+<key id>+<base64>`. */
  readonly verifier: string;
  readonly isActive: boolean;
  readonly createdAt: string;
  readonly retiredAt: string | null;
  /** The note that introduces it, signed by itself and by the one before it. */
  readonly introduction: string;
}

export type SigningKeys = ReturnType<typeof createSigningKeyDesk>;

/** The keys that sign checkpoints. Their public halves are for everybody; a new one is made by the operator alone. */
export function createSigningKeyDesk({ act, keys }: { readonly act: Act; readonly keys: CheckpointKeys }) {
  /** Those that the key in use vouches for, newest first: what somebody put beside them into the table is not handed out. */
  async function list(caller: Caller): Promise<List<SigningKeyView>> {
    demand(caller, 'audit:read');
    const known = await keys.known();
    return { data: known.keys.map(view).toReversed(), nextCursor: null };
  }

  function view({ createdAt, id, note, publicKey, retiredAt }: IntroducedKey): SigningKeyView {
    const verifier = verifierText({ name: keys.name, publicKey });
    const isActive = retiredAt === null;
    return {
      id,
      verifier,
      isActive,
      createdAt: iso(createdAt),
      retiredAt: iso(retiredAt),
      introduction: note,
    };
  }

  return Object.freeze({
    list,

    /** A new key signs from now on, on every node. @throws {SallyportError} FORBIDDEN, VAULT_SEALED, CONFLICT */
    async rotate(caller: Caller): Promise<List<SigningKeyView>> {
      demandOperator(caller, 'Only the operator exchanges the signing key.');
      // The key service is asked before the act is on record, not within its transaction.
      const next = await keys.takeover();
      const fields = { signingKeyId: next.id, replaces: next.replaces };
      await act(caller, 'checkpoint.rotate', fields, () => next.keep());
      return list(caller);
    },
  });
}
