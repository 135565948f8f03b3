import type { Role } from '../db/schema.ts';
import type { AddressSalt } from '../vault/address-salts.ts';

/** Who asks for an administrative act. */
export interface Caller {
  /** `admin`: a `spa_` token; `cli`: the socket or the data directory, which only the operator can open; `system`: the gateway itself. */
  readonly type: 'admin' | 'cli' | 'system';
  /** `tok_…`, or the name of the way in (`cli`, `first-start`). Stands in the journal. */
  readonly id: string;
  readonly workspaceId: string;
  readonly userId: string;
  readonly role: Role;
  /** He who runs this installation: he may name private origins and make workspaces. */
  readonly isOperator: boolean;
  /** As the edge saw it; the journal keeps a keyed hash only. */
  readonly ip: string | null;
  /** Of his user, for that hash; none where the address is null. */
  readonly addressSalts?: readonly AddressSalt[];
}
