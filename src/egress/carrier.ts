import type { Socket } from 'node:net';

/** The connection under a call, as far as the call needs it. */
export interface Carrier {
  readonly socket: Socket | null;
  /** Whole answers that came on the present socket. */
  readonly served: number;
  /** The call is over. `isClean`: nothing of it is left on the connection, but for what its socket is sending. */
  release(isClean: boolean): void;
}
