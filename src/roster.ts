/** A place in a roster. */
export interface Seat {
  /** Again has no effect. */
  leave(): void;
}

/**
 * What is under way, for things that come and go by the thousand a second. A `Set` or `Map` would do the same and keep them all: each time
 * it is rebuilt, the old table stays linked to the new one, so one table that has grown old keeps every later one and what was in it until
 * the next full collection (every scavenge moved 2.6 MB of calls that were over, and took 7 to 10 ms instead of 1 to 4). A plain array
 * with the last one put into a gap has no past.
 */
export class Roster<T> {
  readonly #seats: Chair<T>[] = [];

  get size(): number {
    return this.#seats.length;
  }

  add(value: T): Seat {
    const seat = new Chair(this.#seats, value);
    this.#seats.push(seat);
    return seat;
  }

  /** Those that are in it now, in no order; whoever leaves meanwhile stays in the answer. */
  all(): T[] {
    return this.#seats.map(({ value }) => value);
  }
}

class Chair<T> implements Seat {
  readonly value: T;
  readonly #seats: Chair<T>[];
  /** -1: left. */
  #at: number;

  constructor(seats: Chair<T>[], value: T) {
    this.#seats = seats;
    this.value = value;
    this.#at = seats.length;
  }

  leave(): void {
    if (this.#at < 0) return;
    const last = this.#seats.pop() as Chair<T>;
    if (last !== this) {
      this.#seats[this.#at] = last;
      last.#at = this.#at;
    }
    this.#at = -1;
  }
}
