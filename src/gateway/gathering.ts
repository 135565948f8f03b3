/** More than this is copied for nothing: what comes in pieces so long is no stream of small events. */
const maxJoinedBytes = 16_384;

export interface GatheringEnds {
  handOn(whole: Buffer): void;
  /** After what came in a turn was handed on, or `awaitTurnEnd` was called in it. */
  onTurnEnd(): void;
  /** Nobody else would catch it at a turn's end, and it would be every call's end instead of this one's. */
  onFault(fault: Error): void;
}

/**
 * Pieces that come in one turn of the event loop, handed on as one. A provider sends its events one by one, but those of a quick answer
 * arrive many in one read, and each would be looked at, framed and written by itself. Nothing waits for another turn.
 */
export class Gathering {
  readonly #ends: GatheringEnds;
  #pieces: Buffer[] = [];
  #bytes = 0;
  #isTurnEndDue = false;

  constructor(ends: GatheringEnds) {
    this.#ends = ends;
  }

  /** @param piece  must not be written to afterwards. */
  push(piece: Buffer): void {
    if (this.#bytes + piece.length > maxJoinedBytes) this.flush();
    if (piece.length > maxJoinedBytes) return this.#ends.handOn(piece);
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    this.awaitTurnEnd();
  }

  awaitTurnEnd(): void {
    if (this.#isTurnEndDue) return;
    this.#isTurnEndDue = true;
    process.nextTick(this.#endTurn);
  }

  /** Before anything that has to come behind the pieces. */
  flush(): void {
    const [pieces, bytes] = [this.#pieces, this.#bytes];
    if (pieces.length === 0) return;
    this.drop();
    this.#ends.handOn(pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces, bytes));
  }

  drop(): void {
    this.#pieces = [];
    this.#bytes = 0;
  }

  readonly #endTurn = (): void => {
    this.#isTurnEndDue = false;
    try {
      this.flush();
      this.#ends.onTurnEnd();
    } catch (fault) {
      this.#ends.onFault(fault as Error);
    }
  };
}
