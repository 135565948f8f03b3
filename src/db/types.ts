import pg from 'pg';

/** OIDs of pg_type.dat: a driver's default would lose digits (int8 as text is compared as text) or a day (date at local midnight). */
const int8 = 20;
const int8Array = 1016;
const date = 1082;
const dateArray = 1182;
const textArray: number = 1009;

const texts = pg.types.getTypeParser(textArray, 'text') as (text: string) => (string | null)[];

const parsers: ReadonlyMap<number, (text: string) => unknown> = new Map<number, (text: string) => unknown>([
  [int8, BigInt],
  [int8Array, (text) => texts(text).map((item) => (item === null ? null : BigInt(item)))],
  [date, String],
  [dateArray, texts],
]);

/**
 * One mapping for every connection, given to each instead of set in the driver's shared table: int8 → bigint, numeric → decimal
 * text, date → `YYYY-MM-DD`, timestamptz → Date (columns have ms), bytea → Buffer, jsonb → parsed.
 */
export const typeParsers: pg.CustomTypesConfig = Object.freeze({
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    (format !== 'binary' && parsers.get(oid)) ||
    pg.types.getTypeParser(oid, format as 'text')) as typeof pg.types.getTypeParser,
});
