import { Roster, type Seat } from '../roster.ts';

/** How often all calls are looked at. */
const lookMs = 250;
/** Looks without a call, after which the clock stands still. */
const idleLooks = 40;

/** A call that waits for its provider. */
export interface Waiting {
  /** @param now in looks, as `Patience.now` counts them */
  look(now: number): void;
}

/**
 * One clock for the waits of all calls: timers of each call's own, for its head and for each silence, would be made and removed twice
 * a call, and nobody cares whether two minutes are two minutes and a half second.
 */
export class Patience {
  readonly #waiting = new Roster<Waiting>();
  #timer: NodeJS.Timeout | null = null;
  #idle = 0;
  #now = 0;

  /** The look that comes next. */
  get now(): number {
    return this.#now;
  }

  /** Until it leaves its seat. */
  add(waiting: Waiting): Seat {
    this.#timer ??= setInterval(() => this.#look(), lookMs).unref();
    return this.#waiting.add(waiting);
  }

  /** Have so many ms gone by since that look? Never told too early, and at most half a second late. 0: there is no limit. */
  hasPassed(ms: number, since: number): boolean {
    return ms > 0 && (this.#now - since - 1) * lookMs >= ms;
  }

  #look(): void {
    this.#now += 1;
    this.#idle = this.#waiting.size > 0 ? 0 : this.#idle + 1;
    if (this.#idle >= idleLooks && this.#timer !== null) {
      clearInterval(this.#timer);
      this.#timer = null;
      this.#idle = 0;
    }
    for (const waiting of this.#waiting.all()) waiting.look(this.#now);
  }
}
