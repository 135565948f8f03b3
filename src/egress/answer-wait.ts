import type { Seat } from '../roster.ts';
import type { EgressCode } from './egress-error.ts';
import type { Patience, Waiting } from './patience.ts';
import type { Timeouts } from './request.ts';

export interface Waiter {
  /** It is not the provider who is waited for now: the body is still taken by it, or its answer was told to wait. */
  isHeldUp(isHeadRead: boolean): boolean;
  onLate(code: EgressCode, message: string): void;
}

/** How long one call waits for its provider: for the head of an answer, and then for more of its body. */
export class AnswerWait implements Waiting {
  readonly #patience: Patience;
  readonly #limits: Pick<Timeouts, 'headersMs' | 'bodyMs'>;
  readonly #waiter: Waiter;
  #seat: Seat | null = null;
  #movedAt = 0;
  #isHeadRead = false;

  constructor(patience: Patience, limits: Pick<Timeouts, 'headersMs' | 'bodyMs'>, waiter: Waiter) {
    this.#patience = patience;
    this.#limits = limits;
    this.#waiter = waiter;
  }

  begin(): void {
    this.#movedAt = this.#patience.now;
    this.#seat ??= this.#patience.add(this);
  }

  /** Something came, or may come again: the time begins anew. */
  move(): void {
    this.#movedAt = this.#patience.now;
  }

  /** The head is there; from now on its body is waited for. */
  moveToBody(): void {
    this.#isHeadRead = true;
    this.move();
  }

  end(): void {
    this.#seat?.leave();
  }

  look(now: number): void {
    const { headersMs, bodyMs } = this.#limits;
    if (this.#waiter.isHeldUp(this.#isHeadRead)) {
      this.#movedAt = now;
      return;
    }
    if (!this.#patience.hasPassed(this.#isHeadRead ? bodyMs : headersMs, this.#movedAt)) return;
    if (this.#isHeadRead)
      this.#waiter.onLate('UPSTREAM_IDLE_TIMEOUT', 'The provider stopped in the middle of its answer.');
    else this.#waiter.onLate('UPSTREAM_FIRST_BYTE_TIMEOUT', 'The provider did not begin to answer in time.');
  }
}
