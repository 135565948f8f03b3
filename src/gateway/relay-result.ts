import type { Reading } from '../dialects/meter.ts';
import type { ErrorCode, SallyportError } from '../errors.ts';
import type { AttemptFailure } from './attempt-failure.ts';
import type { EndReason } from './use-record.ts';

/** How one attempt went. */
export interface RelayResult {
  readonly outcome: 'ok' | ErrorCode;
  readonly endReason: EndReason;
  readonly upstreamRequestId: string | null;
  /** Of the provider's answer, or null where none came. */
  readonly upstreamStatus: number | null;
  /** Nothing of the request left: it cost nothing. */
  readonly isUnsent: boolean;
  /** ms since the epoch, or null where no byte came. */
  readonly firstByteAt: number | null;
  readonly responseBytes: number;
  readonly reading: Reading | null;
  /** The client has been told nothing, and another attempt may follow; null where none may. */
  readonly failure: AttemptFailure | null;
  /** The provider's own error is held back until the call decides: `release` tells it. */
  readonly isHeld: boolean;
  /** How many times the key stood in the answer, and was replaced. */
  readonly keyEchoes: number;
  /** Where nothing has been answered yet: what to tell the client. */
  readonly refusal: SallyportError | null;
}

/** The provider's own error, whole, of which the client has heard nothing yet. */
export interface HeldAnswer {
  readonly code: ErrorCode;
  readonly body: Buffer;
  readonly result: RelayResult;
}
