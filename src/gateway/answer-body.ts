import { createEventFraming } from '../dialects/event-framing.ts';
import { createUsageHolder } from '../dialects/held-usage.ts';
import { createMeter, type Reading } from '../dialects/meter.ts';
import { answerForm, isCutOff } from './answer-form.ts';
import type { RelayOptions } from './relay-options.ts';

/** An answer's bytes on their way: they are looked at, metered from a copy, and go on as they came, less a usage chunk held back. */
export interface AnswerBody {
  /** An error event has a place in it. */
  readonly isEvents: boolean;
  /** Something is held back: the provider's length does not hold. */
  readonly isHeldBack: boolean;
  /** @param relay is given the bytes that go on now @returns false: these are no events, and nothing of the chunk goes on */
  push(chunk: Buffer, relay: (part: Buffer) => void): boolean;
  /** Only for the meter: nobody is there to relay to. */
  read(chunk: Buffer): void;
  /** What is still held back of an answer that ended as it should. */
  rest(): readonly Buffer[];
  /** Once. @param isWhole the HTTP message ended properly */
  finish(isWhole: boolean): Reading | null;
  /** HTTP says that all has come: did the answer break off all the same? */
  isCutOff(reading: Reading | null): boolean;
}

export function createAnswerBody(
  status: number,
  headers: readonly [string, string][],
  {
    target,
    method,
    holdsUsage,
    requestBytes,
  }: Pick<RelayOptions, 'target' | 'method' | 'holdsUsage' | 'requestBytes'>,
): AnswerBody {
  const { provider, operation } = target;
  const form = answerForm(headers);
  const reader = status < 300 && method !== 'HEAD' ? provider.usageReader(operation) : null;
  const meter =
    reader === null
      ? null
      : createMeter(reader, {
          isStream: form.isEventStream,
          contentEncoding: form.contentEncoding,
          requestBytes,
        });
  const framing = form.isEvents ? createEventFraming() : null;
  const holder = holdsUsage && form.isEvents ? createUsageHolder() : null;
  return Object.freeze<AnswerBody>({
    isEvents: form.isEvents,
    isHeldBack: holder !== null,
    push(chunk, relay) {
      if (framing?.push(chunk) === false) return false;
      meter?.push(chunk);
      if (holder === null) relay(chunk);
      else for (const part of holder.push(chunk)) relay(part);
      return true;
    },
    read: (chunk) => meter?.push(chunk),
    rest: () => holder?.end() ?? [],
    finish: (isWhole) => meter?.finish(isWhole) ?? null,
    isCutOff: (reading) =>
      method !== 'HEAD' &&
      isCutOff(form, reading, provider.name !== 'custom', framing?.endsInLine() === true),
  });
}
