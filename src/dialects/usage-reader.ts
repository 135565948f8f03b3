import type { Billed } from './billed.ts';
import type { JsonObject } from './dialect.ts';
import type { Usage } from './usage.ts';

/** One event of a streamed answer, or one element of a JSON array that is streamed. */
export interface StreamEvent {
  readonly name: string | null;
  /** Null when the data is no JSON object (`[DONE]`). */
  readonly json: JsonObject | null;
  readonly isDone: boolean;
}

export interface Findings {
  readonly usage: Usage | null;
  readonly billed: Billed;
  /** The counts are the provider's last word, not a state in mid-stream. */
  readonly isFinal: boolean;
  readonly providerUsage: JsonObject | null;
  /** A failure that came inside of a 200: the provider's word for it, never its message. */
  readonly errorInBand: string | null;
  readonly model: string | null;
  /** The stream said itself that it is over. */
  readonly isComplete: boolean;
}

/** Reads one dialect's answers. Pure; what it is given came from the provider and may be anything. */
export interface UsageReader {
  /** @param first the stream's first event, @param last the last few, oldest first; they may be the same. */
  fromStream(first: StreamEvent | null, last: readonly StreamEvent[]): Findings;
  /** @param isTail of a very long answer these are the last members, the counts among them: others may have told of charges */
  fromBody(body: JsonObject, isTail: boolean): Findings;
  /** Characters of generated text in this event, for an estimate. */
  textLength(event: JsonObject): number;
}

export const nothingFound: Findings = {
  usage: null,
  billed: {},
  isFinal: false,
  providerUsage: null,
  errorInBand: null,
  model: null,
  isComplete: false,
};
