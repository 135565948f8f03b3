import type { IncomingHttpHeaders } from 'node:http';

/** Spans of calls, for an OpenTelemetry collector. What stands in them: docs/tracing.md. Never throws. */
export interface Tracer {
  /** @param headers the client's: its `traceparent` and `tracestate` become the span's parent. */
  callStarted(callId: string, headers: IncomingHttpHeaders, startedAtMs: number): CallTrace;
  /** Sends what waits, within three seconds; nothing is recorded afterwards. */
  close(): Promise<void>;
}

export interface CallTrace {
  /** An attempt goes out. @returns `traceparent` and `tracestate` for the provider, flat. */
  attemptStarted(attempt: TracedAttempt): readonly string[];
  /** The attempt that was started last. */
  attemptEnded(end: TracedAttemptEnd): void;
  /** Once, when the client has been told all that it will be told. */
  ended(end: TracedCallEnd): void;
}

/** Times in ms since the epoch. */
export interface TracedAttempt {
  /** From 1. */
  readonly attempt: number;
  readonly startedAtMs: number;
  readonly method: string;
  readonly provider: string;
  /** `openai.chat`, as the provider's file names it. */
  readonly operation: string;
  /** As it goes upstream; the client's text. */
  readonly model: string | null;
  readonly isStream: boolean;
  readonly origin: string;
  readonly tokenId: string | null;
  readonly keyId: string | null;
  readonly keySource: string;
}

export interface TracedAttemptEnd {
  readonly endedAtMs: number;
  /** `ok` or an error code. */
  readonly outcome: string;
  /** The provider's status, or null where it gave none. */
  readonly status: number | null;
  readonly upstreamRequestId: string | null;
  /** As the provider names it; its text. */
  readonly responseModel: string | null;
  readonly usage: TracedUsage | null;
}

/** Counts as WIRE.md has them; null where the provider told nothing. */
export interface TracedUsage {
  readonly inputTokens: number | null;
  readonly cachedInputTokens: number | null;
  readonly cacheWriteInputTokens: number | null;
  readonly outputTokens: number | null;
}

export interface TracedCallEnd {
  readonly endedAtMs: number;
  readonly method: string;
  /** What the client was answered, or null where no answer was begun. */
  readonly status: number | null;
  readonly outcome: string;
  readonly workspaceId: string | null;
  readonly tokenId: string | null;
  readonly attempts: number;
}
