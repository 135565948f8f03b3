import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { renderSessionError } from '../dialects/error-answer.ts';
import { closeFrame, type FrameFault, FrameReader, textFrame } from '../dialects/realtime-frames.ts';
import { refusesKeyInBand } from '../dialects/realtime-refusal.ts';
import { createSessionMeter, type SessionMeter } from '../dialects/realtime-usage.ts';
import type { EgressControl, EgressError, EgressStream } from '../egress/egress.ts';
import type { ErrorCode } from '../errors.ts';
import { endClient } from './realtime-client.ts';
import { hasErrorEvents, judge, maxKeptBytes, reasonOfCut } from './realtime-rules.ts';
import type { RelayResult } from './relay-result.ts';
import type { Target } from './target.ts';
import { refusedKey } from './upstream-words.ts';
import type { EndReason } from './use-record.ts';

/** For the other side to answer a close frame. */
const closingMs = 10_000;

export interface SessionOptions {
  readonly client: Duplex;
  /** What he said already. */
  readonly early: readonly Buffer[];
  readonly target: Target;
  readonly control: EgressControl;
  readonly stream: EgressStream;
  readonly requestId: string;
  readonly upstreamRequestId: string | null;
  /** May the client run this model? Null where his token does not say. */
  readonly mayRun: ((model: string) => boolean) | null;
  /** Of either side's messages. */
  readonly maxMessageBytes: number;
  /** Without a byte either way; 0 no bound. */
  readonly idleMs: number;
  /** How long a side may take nothing of what waits for it; 0 no bound. */
  readonly stalledMs: number;
  readonly now: () => number;
}

type Ending = Pick<RelayResult, 'outcome' | 'endReason'>;

/**
 * What follows a WebSocket's handshake. Bytes go on as they come, with back-pressure both ways; copies of the frames are read for usage
 * and for the rules. Words of ours come only between whole messages, and a session that broke never looks closed in order.
 */
export class RealtimeSession {
  readonly done: Promise<RelayResult>;
  #finish!: (result: RelayResult) => void;
  readonly #options: SessionOptions;
  /** What the client says, and what the provider says. */
  readonly #up: FrameReader;
  readonly #down: FrameReader;
  readonly #meter: SessionMeter | null;
  readonly #firstByteAt: number;
  #requestBytes = 0;
  #responseBytes = 0;
  #movedAt: number;
  #isKeyRefused = false;
  /** Who spoke of closing first. */
  #closedBy: 'client' | 'provider' | null = null;
  #isOver = false;
  /** Of each way: runs while bytes wait for a side that takes none. */
  readonly #stalled: { up?: NodeJS.Timeout; down?: NodeJS.Timeout } = {};
  #idle: NodeJS.Timeout | undefined;
  #closing: NodeJS.Timeout | undefined;

  constructor(options: SessionOptions) {
    const { client, early, target, mayRun, maxMessageBytes, idleMs, now } = options;
    this.#options = options;
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.#firstByteAt = now();
    this.#movedAt = this.#firstByteAt;
    const isOpenai = target.provider.dialect === 'openai';
    this.#meter = isOpenai ? createSessionMeter() : null;
    this.#up = new FrameReader(
      {
        isMasked: true,
        maxMessageBytes,
        maxKeptBytes: mayRun === null ? 0 : maxKeptBytes,
        onMessage: (payload) => (mayRun === null ? null : judge(payload, mayRun)),
      },
      mayRun !== null,
    );
    this.#down = new FrameReader(
      {
        isMasked: false,
        maxMessageBytes,
        maxKeptBytes: isOpenai ? maxKeptBytes : 0,
        onMessage: (payload) => this.#hear(payload),
      },
      // The first message may be the refusal of the key, and is kept back until it is known.
      isOpenai,
    );
    client
      .on('data', (chunk: Buffer) => this.#fromClient(chunk))
      .on('drain', () => this.#moved('down'))
      .on('end', () => this.#clientGone())
      .on('close', () => this.#clientGone());
    if (idleMs > 0) this.#idle = setTimeout(() => this.#checkIdle(), idleMs);
    for (const chunk of early) this.#fromClient(chunk);
  }

  get requestBytes(): number {
    return this.#requestBytes;
  }

  onData(chunk: Buffer): void {
    if (this.#isOver) return;
    this.#movedAt = this.#options.now();
    const { passed, fault } = this.#down.push(chunk);
    for (const piece of passed) {
      this.#responseBytes += piece.length;
      if (!this.#options.client.write(piece)) this.#wait('down');
    }
    if (this.#isKeyRefused) return this.#refuseKey();
    if (fault !== null) {
      this.#sayToProvider(fault);
      return this.#break('upstream_broken', 'The provider’s frames break the rules of WebSocket.');
    }
    if (this.#down.closeCode !== null) this.#awaitClose('provider');
  }

  onDrain(): void {
    this.#moved('up');
  }

  onEnd(): void {
    if (this.#isOver) return;
    if (this.#hasClosed()) return this.#close();
    this.#break('upstream_broken', 'The provider’s side of the session ended.');
  }

  onError(_error: EgressError): void {
    this.onEnd();
  }

  /** The session was taken away from its client: a key or a token is gone, or the gateway stops. */
  cut(code: ErrorCode, message: string): void {
    if (this.#isOver) return;
    this.#settle({ outcome: code, endReason: reasonOfCut(code) });
    this.#say(code, code === 'SHUTTING_DOWN' ? 1012 : 1008, message);
    this.#options.control.abort();
  }

  #fromClient(chunk: Buffer): void {
    if (this.#isOver) return;
    this.#movedAt = this.#options.now();
    const { passed, fault } = this.#up.push(chunk);
    for (const piece of passed) {
      this.#requestBytes += piece.length;
      if (!this.#options.stream.write(piece)) this.#wait('up');
    }
    if (fault !== null) return this.#refuseClient(fault);
    if (this.#up.closeCode !== null) this.#awaitClose('client');
  }

  /** A whole message of the provider. The first decides whether the others are kept back any longer. */
  #hear(payload: Buffer | null): FrameFault | null {
    this.#meter?.read(payload);
    if (this.#responseBytes === 0 && payload !== null && refusesKeyInBand(payload)) {
      this.#isKeyRefused = true;
      return { closeCode: 1000, reason: '' };
    }
    this.#down.letGo();
    return null;
  }

  #refuseKey(): void {
    this.#settle({ outcome: 'UPSTREAM_AUTH', endReason: 'complete' });
    this.#say('UPSTREAM_AUTH', 1011, refusedKey(this.#options.target, 401).message);
    this.#options.control.abort();
  }

  #refuseClient(fault: FrameFault): void {
    const code = fault.closeCode === 1009 ? 'BODY_TOO_LARGE' : 'REQUEST_INVALID';
    const outcome = fault.closeCode === 1008 ? 'MODEL_FORBIDDEN' : code;
    this.#sayToProvider({ closeCode: 1001, reason: '' });
    this.#settle({ outcome, endReason: 'client_closed' });
    this.#say(outcome, fault.closeCode, `What came over the WebSocket cannot be relayed: ${fault.reason}.`);
    this.#options.control.abort();
  }

  #clientGone(outcome: ErrorCode = 'CLIENT_CLOSED'): void {
    if (this.#isOver) return;
    if (this.#hasClosed()) return this.#close();
    this.#settle({ outcome, endReason: 'client_closed' });
    this.#options.client.destroy();
    this.#options.control.abort();
  }

  #break(endReason: EndReason, message: string): void {
    this.#settle({ outcome: 'UPSTREAM_STREAM_BROKEN', endReason });
    this.#say('UPSTREAM_STREAM_BROKEN', 1011, message);
    this.#options.control.abort();
  }

  /** One side has said that it closes, and what it said went on to the other. */
  #hasClosed(): boolean {
    return this.#up.closeCode !== null || this.#down.closeCode !== null;
  }

  /** Both have, or the one that has not left it at that: the connections go. */
  #close(): void {
    this.#settle({ outcome: this.#closedWell() ? 'ok' : 'UPSTREAM_ERROR', endReason: 'complete' });
    endClient(this.#options.client);
    this.#options.control.abort();
  }

  /** A provider that closes for a reason of its own says which (RFC 6455, 7.4); as an answer to the client's close it means nothing. */
  #closedWell(): boolean {
    const code = this.#closedBy === 'provider' ? this.#down.closeCode : null;
    return code === null || code === 1000 || code === 1001 || code === 1005;
  }

  #awaitClose(by: 'client' | 'provider'): void {
    this.#closedBy ??= by;
    this.#closing ??= setTimeout(() => {
      if (!this.#isOver) this.#close();
    }, closingMs);
  }

  #checkIdle(): void {
    const { now, idleMs } = this.#options;
    const leftMs = this.#movedAt + idleMs - now();
    if (leftMs > 0) {
      this.#idle = setTimeout(() => this.#checkIdle(), leftMs);
      return;
    }
    this.#settle({ outcome: 'UPSTREAM_IDLE_TIMEOUT', endReason: 'timeout' });
    this.#sayToProvider({ closeCode: 1001, reason: '' });
    this.#say('UPSTREAM_IDLE_TIMEOUT', 1001, 'Nothing was said in this session for too long.');
    this.#options.control.abort();
  }

  /** The side that bytes go to takes no more for now: the other waits, within bounds. */
  #wait(way: 'up' | 'down'): void {
    const { client, control, stalledMs } = this.#options;
    if (way === 'down') control.pause();
    else client.pause();
    if (stalledMs === 0) return;
    this.#stalled[way] ??= setTimeout(() => {
      if (way === 'up') return this.#break('timeout', 'The provider took nothing for too long.');
      this.#clientGone('CLIENT_TOO_SLOW');
    }, stalledMs);
  }

  #moved(way: 'up' | 'down'): void {
    if (this.#isOver) return;
    clearTimeout(this.#stalled[way]);
    delete this.#stalled[way];
    if (way === 'down') this.#options.control.resume();
    else this.#options.client.resume();
  }

  /** A last word to the provider, where one can be said. */
  #sayToProvider({ closeCode, reason }: FrameFault): void {
    if (this.#up.place === 'inside' || this.#up.closeCode !== null) return;
    this.#options.stream.write(closeFrame(closeCode, reason, randomBytes(4)));
  }

  /** Why it ends, as an event and in the close frame; within a frame nothing can be said, and after a close frame nothing may. */
  #say(code: ErrorCode, closeCode: number, message: string): void {
    const { client, target, requestId } = this.#options;
    const { place } = this.#down;
    if (client.destroyed) return;
    if (place === 'inside' || this.#down.closeCode !== null) {
      client.destroy();
      return;
    }
    if (place === 'message' && hasErrorEvents(target.operation))
      client.write(textFrame(renderSessionError(code, message, requestId)));
    client.write(closeFrame(closeCode, code));
    endClient(client);
  }

  #settle(ending: Ending): void {
    this.#isOver = true;
    clearTimeout(this.#idle);
    clearTimeout(this.#stalled.up);
    clearTimeout(this.#stalled.down);
    clearTimeout(this.#closing);
    this.#finish({
      ...ending,
      upstreamRequestId: this.#options.upstreamRequestId,
      upstreamStatus: 101,
      isUnsent: false,
      firstByteAt: this.#firstByteAt,
      responseBytes: this.#responseBytes,
      reading: this.#meter?.finish() ?? null,
      failure: null,
      isHeld: false,
      keyEchoes: this.#options.control.keyEchoes,
      refusal: null,
    });
  }
}
