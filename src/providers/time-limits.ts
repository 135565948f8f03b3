/** How long each part of a call may take, in ms. 0: no bound. */
export interface TimeLimits {
  /** Name resolution, TCP and TLS. */
  readonly connectMs: number;
  /** From the request's last byte to the answer's head. */
  readonly firstByteMs: number;
  /** Between two reads of the answer's body. */
  readonly betweenBytesMs: number;
  /** The whole call, its attempts together. */
  readonly totalMs: number;
  /**
   * How long a client may take nothing of what waits for it. Node tells that it took something only when the system has room for all that
   * waits: at 120 s a steady reader of a large answer below roughly 5 to 10 KB a second may be cut.
   */
  readonly writeIdleMs: number;
}

/** GATEWAY.md, "Failover". A call has no bound in all: a stream may be read for as long as it comes. */
export const plainLimits: TimeLimits = Object.freeze({
  connectMs: 5_000,
  firstByteMs: 120_000,
  betweenBytesMs: 60_000,
  totalMs: 0,
  writeIdleMs: 120_000,
});

/**
 * Where models think: minutes before the head of an answer that is not streamed (OpenAI's SDK waits 10 minutes), and as long in silence
 * between the head of a stream and its first words, or between two parts of it, where the provider sends no pings.
 */
export const thinkingLimits: TimeLimits = Object.freeze({
  ...plainLimits,
  firstByteMs: 600_000,
  betweenBytesMs: 300_000,
});
