import { EventFraming } from '../dialects/event-framing.ts';
import { UsageHolder } from '../dialects/held-usage.ts';
import { createMeter, type Meter, type Reading } from '../dialects/meter.ts';
import { answerForm, type AnswerForm, hasNoBody, isCutOff } from './answer-form.ts';
import type { RelayOptions } from './relay-options.ts';
import { ResultsUrl } from './results-url.ts';

type AnswerBodyOptions = Pick<RelayOptions, 'target' | 'method' | 'holdsUsage' | 'resultsBase' | 'textBytes'>;

/** An answer's bytes on their way: they are looked at, metered from a copy, and go on as they came, but for a usage chunk held back and a URL that is ours. */
export class AnswerBody {
  readonly #form: AnswerForm;
  readonly #options: AnswerBodyOptions;
  readonly #isBodiless: boolean;
  readonly #meter: Meter | null;
  readonly #framing: EventFraming | null;
  /** What changes the bytes; of all other answers they go on as they came. */
  readonly #editor: UsageHolder | ResultsUrl | null;

  constructor(status: number, headers: readonly [string, string][], options: AnswerBodyOptions) {
    const { target, method, holdsUsage, resultsBase, textBytes } = options;
    const form = answerForm(headers);
    const reader = status < 300 && method !== 'HEAD' ? target.provider.usageReader(target.operation) : null;
    this.#form = form;
    this.#options = options;
    this.#isBodiless = hasNoBody(status, method);
    this.#meter =
      reader === null
        ? null
        : createMeter(reader, {
            isStream: form.isEventStream,
            contentEncoding: form.contentEncoding,
            requestBytes: textBytes,
          });
    this.#framing = form.isEvents ? new EventFraming() : null;
    const isPlainJson = status < 300 && form.isJson && (form.contentEncoding ?? 'identity') === 'identity';
    if (holdsUsage && form.isEvents) this.#editor = new UsageHolder();
    else this.#editor = resultsBase !== null && isPlainJson ? new ResultsUrl(resultsBase) : null;
  }

  /** An error event has a place in it. */
  get isEvents(): boolean {
    return this.#form.isEvents;
  }

  /** The provider's length holds. Of events it may not: should they break off, an error event would fill up what is missing. */
  get keepsLength(): boolean {
    return !this.#form.isEvents && this.#editor === null;
  }

  /** @param client is given the bytes that go on now @returns false: these are no events, and nothing of the chunk goes on */
  push(chunk: Buffer, client: { write(part: Buffer): void }): boolean {
    if (this.#framing?.push(chunk) === false) return false;
    this.#meter?.push(chunk);
    if (this.#editor === null) client.write(chunk);
    else for (const part of this.#editor.push(chunk)) client.write(part);
    return true;
  }

  /** Only for the meter: nobody is there to relay to. */
  read(chunk: Buffer): void {
    this.#meter?.push(chunk);
  }

  /** What is still held back of an answer that ended as it should. */
  rest(): readonly Buffer[] {
    return this.#editor?.end() ?? [];
  }

  /** Once. @param isWhole the HTTP message ended properly */
  finish(isWhole: boolean): Reading | null {
    return this.#meter?.finish(isWhole) ?? null;
  }

  /** HTTP says that all has come: did the answer break off all the same? */
  isCutOff(reading: Reading | null): boolean {
    if (this.#isBodiless) return false;
    const isKnown = this.#options.target.provider.name !== 'custom';
    return isCutOff(this.#form, reading, isKnown, this.#framing?.endsInLine === true);
  }
}
