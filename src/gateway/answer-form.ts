import { hasEventFraming } from '../dialects/error-answer.ts';
import type { Reading } from '../dialects/meter.ts';
import { headerOf } from './forwarded-headers.ts';

/** What an answer's head says of its body, as far as its end depends on it. */
export interface AnswerForm {
  /** `text/event-stream`, also a compressed one. */
  readonly isEventStream: boolean;
  /** Events that we can read, and write one of our own behind. */
  readonly isEvents: boolean;
  readonly isJson: boolean;
  /** Neither a length nor chunks: the connection's end is the body's, and a cut looks the same. */
  readonly isCloseDelimited: boolean;
  readonly contentEncoding: string | null;
}

type Headers = readonly [string, string][];

export function answerForm(headers: Headers): AnswerForm {
  const type = headerOf(headers, 'content-type');
  const contentEncoding = headerOf(headers, 'content-encoding');
  const isEventStream = hasEventFraming(type);
  return {
    isEventStream,
    isEvents: isEventStream && (contentEncoding === null || contentEncoding === 'identity'),
    isJson: type !== null && /^application\/(?:[\w.-]+\+)?json\b/i.test(type),
    isCloseDelimited:
      headerOf(headers, 'content-length') === null && headerOf(headers, 'transfer-encoding') === null,
    contentEncoding,
  };
}

/** By HTTP's own rules (RFC 9110, 6.4.1 and 15.3.6): a body that is not there lacks no end, whatever its type would be. */
export function hasNoBody(status: number, method: string): boolean {
  return method === 'HEAD' || status === 204 || status === 205 || status === 304;
}

/**
 * HTTP says that all has come: has it?
 *
 * @param reading of the meter, or null where nothing is metered
 * @param isOfKnownProvider its streams have a last word of their own; a custom one may end its streams as it likes
 * @param endsInLine of an event stream
 */
export function isCutOff(
  form: AnswerForm,
  reading: Reading | null,
  isOfKnownProvider: boolean,
  endsInLine: boolean,
): boolean {
  if (form.isEvents && isOfKnownProvider && reading?.isComplete === false) return true;
  if (!form.isCloseDelimited) return false;
  if (form.isEvents) return endsInLine && reading?.isComplete !== true;
  return form.isJson && form.contentEncoding === null && reading?.isComplete === false;
}

/** Why this is no answer of a provider's, in words; null: it may be one. */
export function foreignFault(status: number, operation: string, headers: Headers): string | null {
  if (hasForeignCoding(headers)) return 'it has a transfer-encoding that nobody asked for';
  return status < 300 && isForeignPage(operation, headers) ? 'it is a web page' : null;
}

/** A coding besides chunked was not asked for, and what it did to the bytes nobody would undo. */
function hasForeignCoding(headers: Headers): boolean {
  const coding = headerOf(headers, 'transfer-encoding');
  return coding !== null && coding.trim().toLowerCase() !== 'chunked';
}

/** Endpoints that give back what somebody stored, whatever it is, and those that nobody knows. */
const anyType = /\.(?:files|containers|skills|other)$/;

/** A web page where no endpoint gives one: of a proxy on the way, a hotel's network, a wrong base path. */
function isForeignPage(operation: string, headers: Headers): boolean {
  const type = headerOf(headers, 'content-type');
  return type !== null && /^(?:text\/html|application\/xhtml\+xml)\b/i.test(type) && !anyType.test(operation);
}
