export interface FrameReaderOptions {
  /** Frames of clients are masked, those of servers are not (5.1). */
  readonly isMasked: boolean;
  /** Of a message, all its frames together. */
  readonly maxMessageBytes: number;
  /** How much of a message is kept for `onMessage`; 0 keeps none and asks for none. */
  readonly maxKeptBytes: number;
  /** A whole message, unmasked; null for one that was longer than what is kept. What it returns ends the reading. Must not throw. */
  readonly onMessage?: (payload: Buffer | null) => FrameFault | null;
}

export interface FrameFault {
  /** For the close frame (7.4.1). */
  readonly closeCode: number;
  /** At most 123 bytes, without anything that came. */
  readonly reason: string;
}

export interface FramesRead {
  /** What goes on, in order. */
  readonly passed: readonly Buffer[];
  /** Nothing that follows is read or goes on. */
  readonly fault: FrameFault | null;
}

/** Where the bytes that went on have come to: between messages, between frames of one, or within a frame. */
export type FramePlace = 'message' | 'frame' | 'inside';

const continuation = 0;
const close = 8;
/** Two bytes, eight of a length, four of a mask. */
const maxHeadBytes = 14;
/** A message in very many pieces is joined now and then: each piece costs more than its bytes. */
const maxPieces = 1024;

interface FrameHead {
  readonly isFinal: boolean;
  readonly opcode: number;
  readonly headBytes: number;
  readonly payloadBytes: number;
}

/**
 * WebSocket frames (RFC 6455, section 5), read from a copy of the bytes. What is read goes on unchanged, but for this: the head of a
 * frame goes on whole or not at all, so that after any piece it is known where on the wire one stands, and a frame that breaks the
 * rules goes on not at all.
 */
export class FrameReader {
  readonly #options: FrameReaderOptions;
  /** The beginning of a head whose rest has not come. */
  readonly #head = Buffer.alloc(maxHeadBytes);
  #headBytes = 0;
  readonly #mask = Buffer.alloc(4);
  #frame: FrameHead | null = null;
  /** Of the present frame: bytes that have come. */
  #at = 0;
  #isInMessage = false;
  #messageBytes = 0;
  /** Of the present message; null where it was too long. */
  #kept: Buffer[] | null = [];
  /** Of a close frame. */
  #closing: Buffer[] = [];
  #closeCode: number | null = null;
  /** Bytes that wait for the verdict on their message. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  #isHolding: boolean;
  #isOver = false;

  /** @param isHolding nothing of a message goes on before `onMessage` has seen it. */
  constructor(options: FrameReaderOptions, isHolding = false) {
    this.#options = options;
    this.#isHolding = isHolding;
  }

  /** The code of the close frame that has gone on, 1005 where it gave none; null before. */
  get closeCode(): number | null {
    return this.#closeCode;
  }

  get place(): FramePlace {
    if (this.#isHolding || this.#held.length > 0) return 'message';
    if (this.#frame !== null) return 'inside';
    return this.#isInMessage ? 'frame' : 'message';
  }

  /** From here on messages go on as they come. */
  letGo(): void {
    this.#isHolding = false;
  }

  /** @param chunk kept by reference for as long as its message lasts. */
  push(chunk: Buffer): FramesRead {
    const passed: Buffer[] = [];
    let from = 0;
    let at = 0;
    const release = (): void => {
      passed.push(...this.#held.splice(0));
      this.#heldBytes = 0;
    };
    const emit = (bytes: Buffer): void => {
      if (!this.#isHolding) {
        release();
        passed.push(bytes);
        return;
      }
      this.#held.push(bytes);
      this.#heldBytes += bytes.length;
      if (this.#held.length > maxPieces) this.#held = [Buffer.concat(this.#held)];
    };
    const pass = (to: number): void => {
      if (to > from) emit(chunk.subarray(from, to));
      from = to;
    };
    const stop = (fault: FrameFault | null): FramesRead => {
      this.#isOver = true;
      return { passed, fault };
    };
    if (this.#isOver) return { passed, fault: null };
    while (at < chunk.length) {
      if (this.#frame === null) {
        const begun = this.#headBytes;
        const taken = chunk.copy(this.#head, begun, at, at + maxHeadBytes - begun);
        const head = readHead(this.#head, begun + taken);
        if (head === null) {
          pass(at);
          this.#headBytes += taken;
          return { passed, fault: null };
        }
        const fault = 'closeCode' in head ? head : this.#faultOf(head);
        if (fault !== null) {
          pass(at);
          return stop(fault);
        }
        const frame = head as FrameHead;
        if (begun > 0) emit(Buffer.from(this.#head.subarray(0, begun)));
        this.#headBytes = 0;
        this.#begin(frame);
        at += frame.headBytes - begun;
      } else {
        const end = Math.min(chunk.length, at + this.#frame.payloadBytes - this.#at);
        this.#take(this.#frame, chunk.subarray(at, end));
        at = end;
      }
      const frame: FrameHead | null = this.#frame;
      if (this.#isHolding && (this.#kept === null || this.#heldBytes > maxHeldBytes(this.#options))) {
        const fault = this.#options.onMessage?.(null) ?? null;
        if (fault !== null) return stop(fault);
        this.letGo();
        release();
      }
      if (frame === null || this.#at < frame.payloadBytes) continue;
      this.#frame = null;
      const fault = this.#ended(frame);
      if (fault !== null) return stop(fault);
      pass(at);
      if (!this.#isInMessage || this.#closeCode !== null) release();
      if (this.#closeCode !== null) return stop(null);
    }
    pass(at);
    return { passed, fault: null };
  }

  #faultOf(head: FrameHead): FrameFault | null {
    const isMasked = ((this.#head[1] as number) & 0x80) !== 0;
    if (isMasked !== this.#options.isMasked)
      return protocolError(isMasked ? 'a masked frame' : 'an unmasked frame');
    if (head.opcode >= close) return null;
    if ((head.opcode === continuation) !== this.#isInMessage)
      return protocolError(this.#isInMessage ? 'a message within a message' : 'a continuation of nothing');
    if (this.#messageBytes + head.payloadBytes > this.#options.maxMessageBytes)
      return { closeCode: 1009, reason: `a message over ${this.#options.maxMessageBytes} bytes` };
    return null;
  }

  #begin(frame: FrameHead): void {
    this.#frame = frame;
    this.#at = 0;
    this.#closing = [];
    if (this.#options.isMasked) this.#head.copy(this.#mask, 0, frame.headBytes - 4, frame.headBytes);
    if (frame.opcode >= close) return;
    if (!this.#isInMessage) this.#kept = [];
    this.#isInMessage = true;
    this.#messageBytes += frame.payloadBytes;
    if (this.#messageBytes > this.#options.maxKeptBytes) this.#kept = null;
  }

  #take(frame: FrameHead, piece: Buffer): void {
    const isData = frame.opcode < close;
    if ((isData && this.#kept !== null) || frame.opcode === close) {
      const plain = this.#options.isMasked ? unmasked(piece, this.#mask, this.#at) : piece;
      if (isData) this.#keep(plain);
      else this.#closing.push(plain);
    }
    this.#at += piece.length;
  }

  #keep(piece: Buffer): void {
    if (this.#kept === null) return;
    this.#kept.push(piece);
    if (this.#kept.length > maxPieces) this.#kept = [Buffer.concat(this.#kept)];
  }

  #ended(frame: FrameHead): FrameFault | null {
    if (frame.opcode === close) {
      const body = Buffer.concat(this.#closing);
      this.#closeCode = body.length === 0 ? 1005 : body.readUInt16BE();
      return null;
    }
    if (frame.opcode > close || !frame.isFinal) return null;
    const kept = this.#kept;
    this.#isInMessage = false;
    this.#messageBytes = 0;
    this.#kept = [];
    const isAsked = this.#options.maxKeptBytes > 0;
    return isAsked ? (this.#options.onMessage?.(kept === null ? null : Buffer.concat(kept)) ?? null) : null;
  }
}

/** Heads, and control frames in the midst of a message, wait with it. */
function maxHeldBytes({ maxKeptBytes }: FrameReaderOptions): number {
  return 2 * maxKeptBytes;
}

/** Null where more of it has to come. */
function readHead(bytes: Buffer, available: number): FrameHead | FrameFault | null {
  if (available < 2) return null;
  const [first, second] = [bytes[0] as number, bytes[1] as number];
  const opcode = first & 0x0f;
  const isFinal = (first & 0x80) !== 0;
  // No extension is ever agreed on, so that no bit has a meaning.
  if ((first & 0x70) !== 0) return protocolError('a reserved bit');
  if ((opcode > 2 && opcode < close) || opcode > 10) return protocolError('a reserved opcode');
  const short = second & 0x7f;
  if (opcode >= close && (short > 125 || !isFinal)) return protocolError('a control frame too long');
  if (opcode === close && short === 1) return protocolError('half a close code');
  const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0;
  const headBytes = 2 + lengthBytes + ((second & 0x80) === 0 ? 0 : 4);
  if (available < headBytes) return null;
  if (lengthBytes < 8) {
    const payloadBytes = lengthBytes === 0 ? short : bytes.readUInt16BE(2);
    return { isFinal, opcode, headBytes, payloadBytes };
  }
  if ((bytes[2] as number) > 0x7f) return protocolError('a negative length');
  return { isFinal, opcode, headBytes, payloadBytes: Number(bytes.readBigUInt64BE(2)) };
}

function protocolError(reason: string): FrameFault {
  return { closeCode: 1002, reason };
}

function unmasked(piece: Buffer, mask: Buffer, at: number): Buffer {
  const plain = Buffer.allocUnsafe(piece.length);
  for (let i = 0; i < piece.length; i += 1) plain[i] = (piece[i] as number) ^ (mask[(at + i) & 3] as number);
  return plain;
}

/** One whole text message. @param mask 4 bytes, for what goes to a server. */
export function textFrame(payload: Buffer, mask: Buffer | null = null): Buffer {
  return frameOf(1, payload, mask);
}

/** @param reason at most 123 bytes count. */
export function closeFrame(code: number, reason: string, mask: Buffer | null = null): Buffer {
  const text = Buffer.from(reason, 'ascii').subarray(0, 123);
  const payload = Buffer.alloc(2 + text.length);
  payload.writeUInt16BE(code);
  text.copy(payload, 2);
  return frameOf(close, payload, mask);
}

function frameOf(opcode: number, payload: Buffer, mask: Buffer | null): Buffer {
  const { length } = payload;
  const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10);
  head[0] = 0x80 | opcode;
  head[1] = length < 126 ? length : length < 65_536 ? 126 : 127;
  if (head.length === 4) head.writeUInt16BE(length, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2);
  if (mask === null) return Buffer.concat([head, payload]);
  head[1] |= 0x80;
  return Buffer.concat([head, mask, unmasked(payload, mask, 0)]);
}
