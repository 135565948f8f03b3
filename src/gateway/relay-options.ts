import type { ServerResponse } from 'node:http';
import type { Dialect } from '../dialects/dialect.ts';
import type { Target } from './target.ts';

/** What one attempt's answer is relayed with. */
export interface RelayOptions {
  readonly target: Target;
  readonly response: ServerResponse;
  readonly method: string;
  readonly requestId: string;
  readonly dialect: Dialect;
  /** Headers of ours that go with whatever comes, flat. */
  readonly ownHeaders: () => string[];
  /** The usage chunk was spliced in by us, and the client had not asked for it. */
  readonly holdsUsage: boolean;
  /** Where Anthropic's paths are served here, for the URLs in an answer that tells of them; null: it goes on as it is. */
  readonly resultsBase: string | null;
  /** Of the body sent upstream: what an estimate of the input goes by; null where none can be made. */
  readonly textBytes: number | null;
  /** How long a client may take nothing of what waits for it. */
  readonly stalledMs: number;
  /** The answer has begun: no other attempt follows. `forgetSent` gives the memory of the body that was sent back, if it can be. */
  readonly onBegun?: (isStream: boolean, forgetSent: () => boolean) => void;
  readonly now: () => number;
}
