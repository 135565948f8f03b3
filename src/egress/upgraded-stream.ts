import type { Duplex } from 'node:stream';
import type { EgressStream } from './request.ts';
import type { SearchedAnswer } from './searched-answer.ts';

export interface UpgradedEvents {
  onData(chunk: Buffer): void;
  onDrain(): void;
  /** The provider said in order that nothing more comes. */
  onEnd(): void;
  /** More than one may come; the first counts. */
  onError(error: Error): void;
}

/**
 * How long the search may keep the last bytes back because a key could begin with them. What answers a message has to come though
 * nothing follows it; an origin that spreads a key over seconds could as well encode it.
 */
const heldMs = 50;

/** A connection whose protocol was changed: undici has let go of it, and its bytes are nobody's but the call's. */
export class UpgradedStream implements EgressStream {
  readonly #socket: Duplex;
  readonly #answer: SearchedAnswer | null;
  readonly #events: UpgradedEvents;
  #heldBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  /** @param answer searches what comes for the key; null where nothing is searched. */
  constructor(socket: Duplex, answer: SearchedAnswer | null, events: UpgradedEvents) {
    this.#socket = socket;
    this.#answer = answer;
    this.#events = events;
    socket
      .on('data', (chunk: Buffer) => this.#take(chunk))
      .on('drain', () => events.onDrain())
      .on('end', () => {
        this.#letGo();
        events.onEnd();
      })
      .on('error', (error) => events.onError(error))
      .on('close', () => events.onError(new Error('The connection was closed.')));
  }

  write(chunk: Buffer): boolean {
    return this.#socket.destroyed || this.#socket.write(chunk);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  destroy(): void {
    clearTimeout(this.#timer);
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    if (this.#answer === null) return this.#events.onData(chunk);
    // Its length is asked before: the search takes the chunk.
    this.#heldBytes += chunk.length;
    const rest = this.#answer.push(chunk);
    this.#heldBytes -= rest.length;
    if (rest.length > 0) this.#events.onData(rest);
    if (this.#heldBytes > 0) this.#timer ??= setTimeout(() => this.#ripen(), heldMs);
  }

  /** Whoever has asked for a pause gets nothing before its end. */
  #ripen(): void {
    this.#timer = undefined;
    if (this.#socket.isPaused()) this.#timer = setTimeout(() => this.#ripen(), heldMs);
    else this.#letGo();
  }

  #letGo(): void {
    if (this.#heldBytes === 0) return;
    this.#heldBytes = 0;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const held = this.#answer?.end();
    if (held !== undefined && held.length > 0) this.#events.onData(held);
  }
}
