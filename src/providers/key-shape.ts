/** What a provider's keys look like. Judged on bytes: a key is never a string in this process. */
export interface KeyShape {
  readonly pattern: (key: Buffer) => boolean;
  /** Names the expected shape, for the 422; never the value. */
  readonly hint: string;
}

/** VAULT.md, "Intake": 8 to 8192 printable bytes without white space. */
const minBytes = 8;
const maxBytes = 8192;

/** Keys that begin with one of `starts` and with none of `others`: another provider's keys often begin alike. */
export function keyStarting(
  starts: readonly string[],
  hint: string,
  others: readonly string[] = [],
): KeyShape {
  const wanted = starts.map((start) => Buffer.from(start));
  const unwanted = others.map((start) => Buffer.from(start));
  const pattern = (key: Buffer): boolean =>
    isPrintable(key) &&
    wanted.some((start) => begins(key, start) && key.length >= start.length + minBytes) &&
    !unwanted.some((start) => begins(key, start));
  return Object.freeze({ pattern, hint });
}

/** Any key that may stand in a header. */
export const anyKey: KeyShape = Object.freeze({
  pattern: isPrintable,
  hint: '8 to 8192 printable characters without spaces',
});

/** Judged like a shape, on bytes. */
export function beginsWith(starts: readonly string[]): (key: Buffer) => boolean {
  const wanted = starts.map((start) => Buffer.from(start));
  return (key) => wanted.some((start) => begins(key, start));
}

function begins(key: Buffer, start: Buffer): boolean {
  return key.length >= start.length && key.compare(start, 0, start.length, 0, start.length) === 0;
}

function isPrintable(key: Buffer): boolean {
  return key.length >= minBytes && key.length <= maxBytes && key.every((byte) => byte > 0x20 && byte < 0x7f);
}
