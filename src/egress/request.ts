import type { Readable } from 'node:stream';
import type { EgressError } from './egress-error.ts';

/** `public`: https to public addresses only. `operator`: an origin that the operator named; plain http and private addresses allowed. */
export type Reach = 'public' | 'operator';

/** A provider key on its way out: egress/ never holds it, it lends memory to `openInto` at the moment of the write. */
export interface Credential {
  /** Lower case, one of `credentialHeaders`. */
  readonly header: string;
  /** What stands before the secret in the header: `Bearer ` or nothing. */
  readonly prefix: string;
  /** Upper bound of the secret's length, 1 to 8192. */
  readonly maxBytes: number;
  /**
   * Writes the secret at `offset` and returns its length. Called at most once, synchronously, only with a connection ready.
   * @param place  Where the bytes are about to go: the socket's own origin and the header's name.
   * @throws SallyportError KEY_ORIGIN or KEY_INVALID: nothing is sent.
   */
  openInto(into: Buffer, offset: number, place: { readonly origin: string; readonly header: string }): number;
  /** The secret passed every check and was handed to the connection. Must not throw. */
  onOpened?(): void;
  /** It was refused or could not be opened; nothing was sent. Must not throw. */
  onFailed?(error: unknown): void;
}

export interface Timeouts {
  /** Name resolution, TCP and TLS; 0 = no bound. */
  readonly connectMs: number;
  /** From the request's last byte to the answer's head; 0 = no bound. Above 1 s exact to about 0.5 s. */
  readonly headersMs: number;
  /** Between two reads of the answer's body; 0 = no bound. */
  readonly bodyMs: number;
}

export interface EgressRequest {
  /** As `new URL(x).origin` writes it. */
  readonly origin: string;
  readonly reach: Reach;
  readonly method: string;
  /** Path and query, starts with `/`. */
  readonly path: string;
  /** Flat name, value, …; no credential, no host, no hop-by-hop name. */
  readonly headers: readonly string[];
  /** A stream is sent by its content-length header, or chunked without one; it is destroyed when the call fails. */
  readonly body: Buffer | Readable | null;
  readonly credential: Credential | null;
  /**
   * Answers with this status or a higher one are searched for the key that was sent, head and body, and what is found is replaced
   * (answer-search.ts). Null: nothing of the answer is told to anybody. Such a request asks for no compression: a compressed error is
   * decoded or left out, another compressed answer fails the call with UPSTREAM_ERROR.
   */
  readonly searchFrom: 0 | 400 | null;
  readonly timeouts: Timeouts;
  /** Gateways that it came through before this one, for `x-sallyport-hop`. */
  readonly hops?: string | null;
  /** Asks to change protocols, on a connection of its own: it is never given back. `bodyMs` does not count behind it. */
  readonly upgrade?: 'websocket';
}

export interface EgressControl {
  /** Ends the call with `onError(ABORTED)`, unless it is over. The connection is closed at once. */
  abort(reason?: Error): void;
  /** No `onData` after the current one until `resume`; the provider feels it by TCP's own back-pressure. */
  pause(): void;
  resume(): void;
  /**
   * The request will not be sent again. Gives the memory of its body back, if that is a Buffer of all its memory, and the system has taken
   * all of it.
   * @returns whether it did; the Buffer is empty then.
   */
  forgetBody(): boolean;
  /** How many times the key was found in the answer so far, and replaced. */
  readonly keyEchoes: number;
}

/** Our side of a connection whose protocol was changed. What it says back comes by onData, under the control's pause and resume. */
export interface EgressStream {
  /** False where bytes wait; onDrain comes when none do any more. */
  write(chunk: Buffer): boolean;
}

/**
 * Hears of a call in this order: onStart, onHeaders or onUpgrade, onData…, then exactly one of onEnd and onError, and nothing after it.
 * Only onStart is called while `dispatch` runs.
 */
export interface EgressHandler {
  onStart(control: EgressControl): void;
  /** Names in lower case, repeated ones as they came; informational answers (1xx) are not passed on. */
  onHeaders(status: number, headers: readonly [string, string][]): void;
  /** 101, where the request asked for it; an answer of another status comes by onHeaders. Needed with `upgrade`. */
  onUpgrade?(headers: readonly [string, string][], stream: EgressStream): void;
  onDrain?(): void;
  onData(chunk: Buffer): void;
  /** The whole answer has come, by its own framing. */
  onEnd(): void;
  onError(error: EgressError): void;
}

/**
 * Headers that may carry a provider key. Never one that frames a message or routes it (host, content-length, transfer-encoding,
 * connection, cookie): a key's record names its header, and that record was made by a client.
 */
export const credentialHeaders: ReadonlySet<string> = new Set([
  'authorization',
  'x-api-key',
  'api-key',
  'x-goog-api-key',
  'apikey',
  'x-apikey',
  'x-auth-token',
  'x-access-token',
  'x-subscription-token',
  'x-functions-key',
  'xi-api-key',
  'ocp-apim-subscription-key',
]);
