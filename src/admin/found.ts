import { SallyportError } from '../errors.ts';

/** What is not there, and what the caller may not see, are told in the same words. */
export function notFound(what: string): SallyportError {
  return new SallyportError('NOT_FOUND', `There is no such ${what}.`);
}

export function found<T>(row: T | undefined, what: string): T {
  if (row === undefined) throw notFound(what);
  return row;
}
