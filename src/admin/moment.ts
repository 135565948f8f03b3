import { SallyportError } from '../errors.ts';

const shape =
  /^(\d{4})-(\d{2})-(\d{2})(?:T([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d))?$/;

export const wrongMoment = 'has to be a time of RFC 3339: 2027-12-31T23:59:59Z';

/**
 * Reads a time of RFC 3339, or a bare date as its midnight in UTC; years 1970 to 9998.
 *
 * @throws {SallyportError} REQUEST_INVALID naming `path`.
 */
export function readMoment(path: string, text: string): Date {
  const match = shape.exec(text);
  const [year, month, day] = [Number(match?.[1]), Number(match?.[2]), Number(match?.[3])];
  const isDay = match !== null && month >= 1 && month <= 12 && day >= 1 && day <= daysOf(year, month);
  const moment = new Date(isDay ? text : Number.NaN);
  // Date takes 30 February for 2 March: the calendar is asked first.
  if (!isDay || Number.isNaN(moment.getTime()) || year < 1970 || year > 9998) {
    throw invalid(path, wrongMoment);
  }
  return moment;
}

export function readMaybeMoment(path: string, text: string | null | undefined): Date | null {
  return text === null || text === undefined ? null : readMoment(path, text);
}

/** RFC 3339, UTC, ms. */
export function iso(moment: Date): string;
export function iso(moment: Date | null): string | null;
export function iso(moment: Date | null): string | null {
  return moment === null ? null : moment.toISOString();
}

function daysOf(year: number, month: number): number {
  return new Date(Date.UTC(year, month, 0)).getUTCDate();
}

/** A request that its schema lets through and its meaning does not. `path` is a JSON pointer; the message never echoes the value. */
export function invalid(path: string, message: string): SallyportError {
  return new SallyportError('REQUEST_INVALID', `${path.slice(1) || 'The body'} ${message}.`, {
    errors: [{ path, message }],
  });
}
