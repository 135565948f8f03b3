import { randomBytes } from 'node:crypto';
import type {
  EgressControl,
  EgressError,
  EgressHandler,
  EgressRequest,
  EgressStream,
} from '../egress/egress.ts';
import type { ErrorCode } from '../errors.ts';
import { answerHeaders, requestHeaders } from './forwarded-headers.ts';
import type { WaitingClient } from './realtime-client.ts';
import { acceptOf, checkAnswer, type Handshake } from './realtime-handshake.ts';
import { answeredProtocol, forwardedProtocols } from './realtime-protocols.ts';
import { RealtimeSession, type SessionOptions } from './realtime-session.ts';
import { reasonOfCut } from './realtime-rules.ts';
import { asRefusal } from './refusal.ts';
import { Relay } from './relay.ts';
import type { RelayOptions } from './relay-options.ts';
import type { RelayResult } from './relay-result.ts';

export interface AttemptOptions
  extends Omit<RelayOptions, 'ownHeaders'>, Pick<SessionOptions, 'mayRun' | 'maxMessageBytes' | 'idleMs'> {
  readonly client: WaitingClient;
  readonly handshake: Handshake;
  /** As the client sent them. */
  readonly rawHeaders: readonly string[];
  /** Flat, with the provider's id of the call. */
  readonly ownHeaders: (upstreamRequestId: string | null) => string[];
  /** The key has been sent and taken: nothing that opens it is needed any longer. */
  readonly onUpgraded: () => void;
}

/**
 * The way of one session to the provider and back: a relay of HTTP as long as the provider has not changed protocols, which tells of
 * refusals like every other call's, and a session from then on.
 */
export class RealtimeAttempt implements EgressHandler {
  readonly done: Promise<RelayResult>;
  #finish!: (result: RelayResult) => void;
  readonly #options: AttemptOptions;
  readonly #relay: Relay;
  readonly #key = randomBytes(16).toString('base64');
  readonly #protocols: readonly string[];
  #control: EgressControl | null = null;
  #session: RealtimeSession | null = null;

  constructor(options: AttemptOptions) {
    this.#options = options;
    const { target, handshake } = options;
    this.#protocols = forwardedProtocols(handshake.protocols, target.provider, target.key.isCallersOwn);
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
    const relay = new Relay({ ...options, ownHeaders: () => options.ownHeaders(relay.upstreamRequestId) });
    this.#relay = relay;
    void relay.done.then((result) => this.#finish(result.isHeld ? relay.release() : result));
  }

  /** What the client said in messages, heads and all. */
  get requestBytes(): number {
    return this.#session?.requestBytes ?? 0;
  }

  /** Of the request that goes out: the handshake is our own, and no extension is offered in it. */
  get headers(): EgressRequest['headers'] {
    const { target, rawHeaders } = this.#options;
    const { isCallersOwn } = target.key;
    return [
      ...requestHeaders(target.provider, rawHeaders, {
        isRead: true,
        isStreamed: false,
        isUnpacked: false,
        isOwnKey: isCallersOwn,
      }),
      'sec-websocket-version',
      '13',
      'sec-websocket-key',
      this.#key,
      ...(this.#protocols.length === 0 ? [] : ['sec-websocket-protocol', this.#protocols.join(', ')]),
    ];
  }

  get isUpgraded(): boolean {
    return this.#session !== null;
  }

  cut(code: ErrorCode, message: string): void {
    if (this.#session !== null) this.#session.cut(code, message);
    else this.#relay.cut(code, reasonOfCut(code), message);
  }

  fail(error: unknown): void {
    this.#relay.fail(asRefusal(error));
  }

  onStart(control: EgressControl): void {
    this.#control = control;
    this.#relay.onStart(control);
  }

  onHeaders(status: number, headers: readonly [string, string][]): void {
    this.#relay.onHeaders(status, headers);
  }

  onUpgrade(headers: readonly [string, string][], stream: EgressStream): void {
    const { client, handshake, ownHeaders, target } = this.#options;
    const control = this.#control as EgressControl;
    let chosen: string | null;
    try {
      chosen = checkAnswer(headers, { key: this.#key, protocols: this.#protocols });
    } catch (error) {
      this.#relay.fail(asRefusal(error), false);
      control.abort();
      return;
    }
    this.#options.onUpgraded();
    const upstreamRequestId = target.provider.upstreamRequestId(headers);
    const protocol = answeredProtocol(chosen, handshake.protocols);
    const { socket, early } = client.accept([
      'sec-websocket-accept',
      acceptOf(handshake.key),
      ...(protocol === null ? [] : ['sec-websocket-protocol', protocol]),
      ...answerHeaders(target.provider, headers, false),
      ...ownHeaders(upstreamRequestId),
    ]);
    const session = new RealtimeSession({
      ...this.#options,
      client: socket,
      early,
      control,
      stream,
      upstreamRequestId,
    });
    this.#session = session;
    void session.done.then(this.#finish);
  }

  onData(chunk: Buffer): void {
    (this.#session ?? this.#relay).onData(chunk);
  }

  onDrain(): void {
    this.#session?.onDrain();
  }

  onEnd(): void {
    (this.#session ?? this.#relay).onEnd();
  }

  onError(error: EgressError): void {
    (this.#session ?? this.#relay).onError(error);
  }
}
