/** More than this is copied for nothing: what comes in pieces so long is no stream of small events. */
const maxJoinedBytes = 16_384;

/**
 * Pieces that come in one turn of the event loop, handed on as one. A provider sends its events one by one, but those of a quick answer
 * arrive many in one read, and each would be looked at, framed and written by itself. Nothing waits for another turn.
 */
export class Gathering {
  readonly #handOn: (whole: Buffer) => void;
  readonly #onTurnEnd: () => void;
  #pieces: Buffer[] = [];
  #bytes = 0;
  #isTurnEndDue = false;

  /** @param onTurnEnd  after what came in a turn was handed on, or `awaitTurnEnd` was called in it. */
  constructor(handOn: (whole: Buffer) => void, onTurnEnd: () => void) {
    this.#handOn = handOn;
    this.#onTurnEnd = onTurnEnd;
  }

  /** @param piece  must not be written to afterwards. */
  push(piece: Buffer): void {
    if (this.#bytes + piece.length > maxJoinedBytes) this.flush();
    if (piece.length > maxJoinedBytes) return this.#handOn(piece);
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
    this.#handOn(pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces, bytes));
  }

  drop(): void {
    this.#pieces = [];
    this.#bytes = 0;
  }

  readonly #endTurn = (): void => {
    this.#isTurnEndDue = false;
    this.flush();
    this.#onTurnEnd();
  };
}
