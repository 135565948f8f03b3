import { invalid } from './moment.ts';

/** What a list was asked for. `cursor` is opaque to clients: base64url of the last row's place. */
export interface Page {
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
}

export interface List<T> {
  readonly data: readonly T[];
  readonly nextCursor: string | null;
}

export const pageLimits = { least: 1, most: 200, usual: 50, cursorLength: 512 } as const;

/** A place's time or day goes to the database as a Date: the form alone lets the 99th of a month through. */
const isoTime = /^\d{4}-\d{2}-\d{2}(?:T|$)/;

/** One row more than asked for is read: it says whether there is a next page. */
export function rowsToRead(page: Page): number {
  return limitOf(page) + 1;
}

export function limitOf(page: Page): number {
  return page.limit ?? pageLimits.usual;
}

/** @param place the members that name a row's place in the list's order, newest first. */
export function toList<R, T>(
  rows: readonly R[],
  page: Page,
  place: (row: R) => readonly string[],
  view: (row: R) => T,
): List<T> {
  const limit = limitOf(page);
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const hasMore = rows.length > limit && last !== undefined;
  return {
    data: shown.map(view),
    nextCursor: hasMore ? cursorOf(place(last)) : null,
  };
}

/** What `placeOf` reads. */
export function cursorOf(place: readonly string[]): string {
  return Buffer.from(JSON.stringify(place)).toString('base64url');
}

/**
 * The place after which a page begins, or null for the first page.
 *
 * @throws {SallyportError} REQUEST_INVALID: not a cursor of ours.
 */
export function placeOf<const Shape extends readonly RegExp[]>(
  page: Page,
  shape: Shape,
): { [I in keyof Shape]: string } | null {
  if (page.cursor === undefined) return null;
  let place: unknown;
  try {
    place = JSON.parse(Buffer.from(page.cursor, 'base64url').toString('utf8'));
  } catch {
    throw invalid('/cursor', 'is not a cursor of this list');
  }
  const fits =
    Array.isArray(place) &&
    place.length === shape.length &&
    shape.every((pattern, i) => typeof place[i] === 'string' && pattern.test(place[i])) &&
    place.every((part: string) => !isoTime.test(part) || !Number.isNaN(Date.parse(part)));
  if (!fits) throw invalid('/cursor', 'is not a cursor of this list');
  return place as { [I in keyof Shape]: string };
}
