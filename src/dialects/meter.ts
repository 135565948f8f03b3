import type { Billed } from './billed.ts';
import { createDecodedCopy, type DecodedCopy } from './decoded-copy.ts';
import { isObject, type JsonObject, parseJson } from './dialect.ts';
import { estimateUsage } from './estimate.ts';
import { EventTail } from './event-tail.ts';
import { createJsonCopy } from './json-copy.ts';
import { createSseSplitter, type SseEvent, type SseSplitter } from './sse.ts';
import { recordable, type Usage } from './usage.ts';
import { type Findings, nothingFound, type StreamEvent, type UsageReader } from './usage-reader.ts';

export interface Reading {
  readonly usage: Usage | null;
  /** What is charged for besides, and what has a price of its own. */
  readonly billed: Billed;
  /** `provider`: its last word. `estimated`: from what was relayed before the stream broke off. */
  readonly usageSource: 'provider' | 'estimated' | 'unknown';
  /** The provider's own object (`recordable`). */
  readonly providerUsage: JsonObject | null;
  /** The provider's word for a failure inside of a 200, at most 36 characters. */
  readonly errorInBand: string | null;
  /** As the provider names it: its text, for no log. */
  readonly model: string | null;
  /** Did the answer say itself that it is whole? Null where the meter can't tell; false is a cut, however the socket ended. */
  readonly isComplete: boolean | null;
}

export interface Meter {
  /** A chunk of the answer as it came; kept by reference, so it must not be written to afterwards. Never throws. */
  push(chunk: Buffer): void;
  /**
   * @param complete the HTTP message ended properly. False: the provider or the client broke off.
   * Never throws. Call once.
   */
  finish(complete: boolean): Reading;
}

export interface MeterOptions {
  /** The request asked for a stream. What comes is looked at all the same: errors come as JSON. */
  readonly isStream: boolean;
  /** The answer's content-encoding header. */
  readonly contentEncoding: string | null;
  /** Bytes of the request body: what an estimate of the input goes by. Null where these say nothing of it. */
  readonly requestBytes?: number | null;
}

/** GATEWAY.md: first event and everything since the last boundary, at most 1 MiB, of which long texts are left out. */
const maxBytes = 1024 * 1024;
/** Anthropic's `message_start` is the only first event that is read, and is less than 2 KiB. */
const maxFirstBytes = 64 * 1024;

/** Whose answer it is. */
interface Metered {
  readonly reader: UsageReader;
  readonly isStream: boolean;
  readonly requestBytes: number | null;
}

/** Reads usage from a copy of an answer. It may fail without harm: a parser error stops the meter, never the stream. */
export function createMeter(reader: UsageReader, options: MeterOptions): Meter {
  const encoding = (options.contentEncoding ?? '').trim().toLowerCase();
  const isPlain = encoding === '' || encoding === 'identity';
  const { isStream, requestBytes = null } = options;
  const plain = new PlainMeter({ reader, isStream, requestBytes });
  return new Guarded(isPlain ? plain : new DecodingMeter(encoding, plain));
}

const unknownReading: Reading = Object.freeze({
  usage: null,
  billed: {},
  usageSource: 'unknown',
  providerUsage: null,
  errorInBand: null,
  model: null,
  isComplete: null,
});

class Guarded implements Meter {
  readonly #meter: Meter;
  #hasFailed = false;

  constructor(meter: Meter) {
    this.#meter = meter;
  }

  push(chunk: Buffer): void {
    if (this.#hasFailed) return;
    try {
      this.#meter.push(chunk);
    } catch {
      this.#hasFailed = true;
    }
  }

  finish(complete: boolean): Reading {
    if (this.#hasFailed) return unknownReading;
    try {
      return this.#meter.finish(complete);
    } catch {
      return unknownReading;
    }
  }
}

/** Of an encoded answer, which is decoded at its end. */
class DecodingMeter implements Meter {
  readonly #copy: DecodedCopy;
  readonly #meter: Meter;

  constructor(encoding: string, meter: Meter) {
    this.#copy = createDecodedCopy(encoding, maxBytes);
    this.#meter = meter;
  }

  push(chunk: Buffer): void {
    this.#copy.push(chunk);
  }

  finish(complete: boolean): Reading {
    const bytes = this.#copy.decode();
    if (bytes === null) return unknownReading;
    this.#meter.push(bytes);
    return this.#meter.finish(complete);
  }
}

/** Decides by the first byte: no line of an event stream starts with a bracket. */
class PlainMeter implements Meter {
  readonly #metered: Metered;
  #meter: Meter | null = null;

  constructor(metered: Metered) {
    this.#metered = metered;
  }

  push(chunk: Buffer): void {
    if (this.#meter === null) {
      const at = chunk.findIndex((byte) => byte !== 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d);
      if (at < 0) return;
      const isJson = chunk[at] === 0x7b || chunk[at] === 0x5b;
      this.#meter = new (isJson ? JsonMeter : EventMeter)(this.#metered);
    }
    this.#meter.push(chunk);
  }

  finish(complete: boolean): Reading {
    return (
      this.#meter?.finish(complete) ?? {
        ...unknownReading,
        isComplete: this.#metered.isStream ? false : null,
      }
    );
  }
}

class EventMeter implements Meter {
  readonly #metered: Metered;
  /** Until the first event is there, or will not be. */
  #head: SseSplitter | null = createSseSplitter(maxFirstBytes);
  readonly #tail = new EventTail(maxBytes);
  #first: StreamEvent | null = null;
  #relayedBytes = 0;

  constructor(metered: Metered) {
    this.#metered = metered;
  }

  push(chunk: Buffer): void {
    this.#relayedBytes += chunk.length;
    if (this.#head !== null) {
      const event = this.#head.push(chunk)[0];
      if (event !== undefined) this.#first = streamEvent(event);
      if (event !== undefined || this.#head.hasOverflowed()) this.#head = null;
    }
    this.#tail.push(chunk);
  }

  finish(complete: boolean): Reading {
    const bytes = this.#tail.bytes();
    const splitter = createSseSplitter(maxBytes + 1);
    const events = splitter.push(bytes).map(streamEvent);
    // An event without its blank line is no event yet, but some servers close right behind the last one: it counts if the
    // message ended properly and the data is whole.
    const rest = complete ? splitter.rest() : null;
    const last = rest === null ? null : streamEvent(rest);
    if (last !== null && (last.isDone || last.json !== null)) events.push(last);
    const { reader, requestBytes } = this.#metered;
    const found = reader.fromStream(this.#first, events);
    const relayed = {
      bytes: this.#relayedBytes - this.#tail.leftOutBytes,
      sample: events,
      sampleBytes: bytes.length,
      requestBytes,
    };
    const isComplete = found.isComplete ? complete : this.#tail.hasLost() && complete ? null : false;
    return toReading(reader, found, isComplete, relayed);
  }
}

class JsonMeter implements Meter {
  readonly #metered: Metered;
  readonly #copy = createJsonCopy(maxBytes, ['usage', 'usageMetadata']);
  #relayedBytes = 0;

  constructor(metered: Metered) {
    this.#metered = metered;
  }

  push(chunk: Buffer): void {
    this.#relayedBytes += chunk.length;
    this.#copy.push(chunk);
  }

  finish(complete: boolean): Reading {
    const { reader, requestBytes } = this.#metered;
    const relayedBytes = this.#relayedBytes;
    const answer = this.#copy.read();
    const relayed = { bytes: relayedBytes, sample: [], sampleBytes: 0, requestBytes };
    if (answer === null) {
      const isCut = !complete || relayedBytes <= maxBytes;
      return toReading(reader, nothingFound, isCut ? false : null, relayed);
    }
    const [only] = answer.objects;
    if (!answer.isArray && !answer.isLines && only !== undefined) {
      const body = reader.fromBody(only, answer.isTail);
      return toReading(reader, body, body.isComplete && complete, relayed);
    }
    const events = answer.objects.map((json) => ({ name: null, json, isDone: false }));
    const found = reader.fromStream(events[0] ?? null, events);
    if (answer.isLines) {
      const sampled = { ...relayed, sample: events, sampleBytes: relayedBytes };
      return toReading(reader, found, found.isComplete && complete, sampled);
    }
    // The closing bracket says what `[DONE]` says elsewhere.
    return toReading(reader, { ...found, isFinal: found.providerUsage !== null }, complete, relayed);
  }
}

function toReading(
  reader: UsageReader,
  found: Findings,
  isComplete: boolean | null,
  relayed: Parameters<typeof estimateUsage>[2],
): Reading {
  const isFinal = found.isFinal && (found.usage !== null || isCounted(found.billed));
  // A whole answer without counts is unknown; one that broke off, or failed on the way, has cost something.
  const isBroken = isComplete !== true || found.errorInBand !== null;
  const usage = isFinal ? found.usage : isBroken ? estimateUsage(reader, found.usage, relayed) : null;
  return {
    usage,
    billed: found.billed,
    usageSource: isFinal ? 'provider' : usage === null ? 'unknown' : 'estimated',
    providerUsage: recordable(found.providerUsage),
    errorInBand: found.errorInBand,
    model: found.model,
    isComplete,
  };
}

/** Whisper is paid by the second and pictures by the piece: counts that are no tokens. */
function isCounted(billed: Billed): boolean {
  return Object.values(billed).some((value) => typeof value === 'number' && value > 0);
}

function streamEvent({ name, data }: SseEvent): StreamEvent {
  if (data.trim() === '[DONE]') return { name, json: null, isDone: true };
  const json = parseJson(data);
  return { name, json: isObject(json) ? json : null, isDone: false };
}
