import type { Socket } from 'node:net';
import { Client } from 'undici';
import type { Call } from './call.ts';
import type { Carrier } from './carrier.ts';
import { EgressError, lostAtOnce } from './egress-error.ts';
import type { Connector } from './guard.ts';
import { injectInto } from './injector.ts';
import { skipContinue } from './skip-continue.ts';

/** How long an idle connection is kept; the server's own shorter hint counts (`keep-alive: timeout=`). */
const keepAliveMs = 60_000;
/** GATEWAY.md, invariant 7. */
const maxHeaderBytes = 16_384;

export interface ConnectionEvents {
  /** The call is over and the connection can serve the next. */
  onFree(connection: Connection): void;
  /** The connection is of no more use; it is closed already, or being closed. */
  onGone(connection: Connection): void;
}

/** One undici client with at most one socket and one call at a time. */
export class Connection implements Carrier {
  readonly #client: Client;
  readonly #events: ConnectionEvents;
  #socket: Socket | null = null;
  /** On its way to be one; undici itself lets it go only when it is there. */
  #connecting: Socket | null = null;
  #call: Call | null = null;
  #served = 0;
  #isGone = false;

  /** @param origin the lane's: one for all of its connections */
  constructor(origin: URL, connector: Connector, events: ConnectionEvents) {
    this.#events = events;
    this.#client = new Client(origin, {
      pipelining: 1,
      allowH2: false,
      keepAliveTimeout: keepAliveMs,
      keepAliveMaxTimeout: keepAliveMs,
      keepAliveTimeoutThreshold: 1000,
      maxHeaderSize: maxHeaderBytes,
      connect: (target, done) => {
        this.#call?.onConnecting();
        const connecting = connector(target, (...result) => {
          this.#connecting = null;
          const [error, socket] = result;
          if (error !== null) {
            done(...result);
            return;
          }
          this.#adopt(socket, `${target.protocol}//${target.host ?? ''}`);
          // undici writes at once. What is written in the very turn in which a handshake ends, the TLS layer copies into memory that is
          // freed unwiped (Node 26, TLS 1.2 and 1.3: 3 to 7 of 200 keys were found there; from the next turn on, none).
          setImmediate(() => {
            if (socket.destroyed) done(socket.errored ?? lostAtOnce(), null);
            else done(null, socket);
          });
        });
        this.#connecting = connecting ?? null;
      },
    });
  }

  get socket(): Socket | null {
    return this.#socket;
  }

  get served(): number {
    return this.#served;
  }

  send(call: Call, hop: string): void {
    this.#call = call;
    call.ride(this);
    this.#client.dispatch(call.options(hop), call);
  }

  release(isClean: boolean): void {
    this.#call = null;
    if (this.#isGone) return;
    if (!isClean) void this.destroy();
    else if (this.#socket?.writableLength === 0) this.#free();
    // The TLS layer tells a turn later that bytes have left, and an answer may come at once: half of such calls would begin with a handshake.
    // What still waits then is a body that nobody has read, and would stand before the next call's head.
    else setImmediate(() => (this.#socket?.writableLength === 0 ? this.#free() : void this.destroy()));
  }

  #free(): void {
    if (this.#isGone) return;
    this.#served += 1;
    this.#events.onFree(this);
  }

  /** The call on it, if any, fails with ABORTED. @returns once the socket is closed */
  async destroy(): Promise<void> {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#events.onGone(this);
    this.#call?.abort();
    // Not within undici's own parser, from which a call's end comes.
    await Promise.resolve();
    this.#connecting?.on('error', () => {}).destroy(lostAtOnce());
    await this.#client.destroy(new EgressError('ABORTED', 'The connection was closed.'));
  }

  #adopt(socket: Socket, origin: string): void {
    this.#socket = socket;
    this.#served = 0;
    injectInto(socket, origin, () => this.#call);
    skipContinue(socket, () => this.#call);
    socket.once('close', () => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      // Idle and closed by the provider or by time: a client without a socket is not worth its place.
      if (this.#call === null) void this.destroy();
    });
  }
}
