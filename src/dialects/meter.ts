import type { Billed } from './billed.ts';
import { createDecodedCopy } from './decoded-copy.ts';
import { isObject, type JsonObject, parseJson } from './dialect.ts';
import { estimateUsage } from './estimate.ts';
import { createEventTail } from './event-tail.ts';
import { createJsonCopy } from './json-copy.ts';
import { createSseSplitter, type SseEvent } from './sse.ts';
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
  /** Bytes of the request body: what an estimate of the input goes by. */
  readonly requestBytes?: number;
}

/** GATEWAY.md: first event and everything since the last boundary, at most 1 MiB. */
const maxBytes = 1024 * 1024;
/** Anthropic's `message_start` is the only first event that is read, and is less than 2 KiB. */
const maxFirstBytes = 64 * 1024;

/** Reads usage from a copy of an answer. It may fail without harm: a parser error stops the meter, never the stream. */
export function createMeter(reader: UsageReader, options: MeterOptions): Meter {
  const encoding = (options.contentEncoding ?? '').trim().toLowerCase();
  const requestBytes = options.requestBytes ?? null;
  if (encoding === '' || encoding === 'identity')
    return guarded(createPlainMeter(reader, options.isStream, requestBytes));
  const copy = createDecodedCopy(encoding, maxBytes);
  return guarded({
    push: (chunk) => copy.push(chunk),
    finish(complete) {
      const bytes = copy.decode();
      if (bytes === null) return unknownReading;
      const meter = createPlainMeter(reader, options.isStream, requestBytes);
      meter.push(bytes);
      return meter.finish(complete);
    },
  });
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

function guarded(meter: Meter): Meter {
  let hasFailed = false;
  return Object.freeze({
    push(chunk: Buffer): void {
      if (hasFailed) return;
      try {
        meter.push(chunk);
      } catch {
        hasFailed = true;
      }
    },
    finish(complete: boolean): Reading {
      if (hasFailed) return unknownReading;
      try {
        return meter.finish(complete);
      } catch {
        return unknownReading;
      }
    },
  });
}

/** Decides by the first byte: no line of an event stream starts with a bracket. */
function createPlainMeter(reader: UsageReader, isStream: boolean, requestBytes: number | null): Meter {
  let meter: Meter | null = null;
  return {
    push(chunk): void {
      if (meter === null) {
        const at = chunk.findIndex(
          (byte) => byte !== 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d,
        );
        if (at < 0) return;
        const isJson = chunk[at] === 0x7b || chunk[at] === 0x5b;
        meter = isJson ? createJsonMeter(reader, requestBytes) : createEventMeter(reader, requestBytes);
      }
      meter.push(chunk);
    },
    finish: (complete) =>
      meter?.finish(complete) ?? { ...unknownReading, isComplete: isStream ? false : null },
  };
}

function createEventMeter(reader: UsageReader, requestBytes: number | null): Meter {
  const head = createSseSplitter(maxFirstBytes);
  const tail = createEventTail(maxBytes);
  let first: StreamEvent | null = null;
  let relayedBytes = 0;
  return {
    push(chunk): void {
      relayedBytes += chunk.length;
      if (first === null && !head.hasOverflowed()) {
        const event = head.push(chunk)[0];
        if (event !== undefined) first = streamEvent(event);
      }
      tail.push(chunk);
    },
    finish(complete): Reading {
      const bytes = tail.bytes();
      const splitter = createSseSplitter(maxBytes + 1);
      const events = splitter.push(bytes).map(streamEvent);
      // An event without its blank line is no event yet, but some servers close right behind the last one: it counts if the
      // message ended properly and the data is whole.
      const rest = complete ? splitter.rest() : null;
      const last = rest === null ? null : streamEvent(rest);
      if (last !== null && (last.isDone || last.json !== null)) events.push(last);
      const found = reader.fromStream(first, events);
      const relayed = { bytes: relayedBytes, sample: events, sampleBytes: bytes.length, requestBytes };
      const isComplete = found.isComplete ? complete : tail.hasLost() && complete ? null : false;
      return toReading(reader, found, isComplete, relayed);
    },
  };
}

function createJsonMeter(reader: UsageReader, requestBytes: number | null): Meter {
  const copy = createJsonCopy(maxBytes, ['usage', 'usageMetadata']);
  let relayedBytes = 0;
  return {
    push(chunk): void {
      relayedBytes += chunk.length;
      copy.push(chunk);
    },
    finish(complete): Reading {
      const answer = copy.read();
      const relayed = { bytes: relayedBytes, sample: [], sampleBytes: 0, requestBytes };
      if (answer === null) {
        const isCut = !complete || relayedBytes <= maxBytes;
        return toReading(reader, nothingFound, isCut ? false : null, relayed);
      }
      const [only] = answer.objects;
      if (!answer.isArray && !answer.isLines && only !== undefined) {
        const body = reader.fromBody(only);
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
    },
  };
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
