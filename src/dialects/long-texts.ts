/** A word, a name, a code are shorter; a picture, a recording, a page of an answer are longer, and tell the meter nothing. */
const longest = 1024;

const LF = 0x0a;
const CR = 0x0d;
const quote = 0x22;
const backslash = 0x5c;

/**
 * JSON, a piece of it from its beginning, or lines that carry it, with nothing between the quotes of every text of more than 1 KiB: of an
 * answer with pictures some hundred bytes are left, which parse as before. A text that the last byte stands in stays open, so that what is left and
 * what comes next can be shortened together. The end of a line ends a text, as JSON has none in one: whatever stood before it, the next
 * line is read anew. 2.5 ms for a MiB of anything.
 *
 * @returns `bytes` itself where no text is long.
 */
export function withoutLongTexts(bytes: Buffer): Buffer {
  const kept: Buffer[] = [];
  let keepFrom = 0;
  /** Of the text that `at` stands in, behind its quote; -1 outside of one. */
  let start = -1;
  let at = 0;

  const endText = (end: number): void => {
    if (end - start > longest) {
      kept.push(bytes.subarray(keepFrom, start));
      keepFrom = end;
    }
    start = -1;
  };
  for (; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (start < 0) {
      if (byte === quote) start = at + 1;
    } else if (byte === quote || byte === LF || byte === CR) {
      endText(at);
    } else if (byte === backslash && bytes[at + 1] !== LF && bytes[at + 1] !== CR) {
      at += 1;
    }
  }
  // One further: the last byte is a backslash whose meaning is still to come.
  if (start >= 0) endText(at > bytes.length ? bytes.length - 1 : bytes.length);
  return kept.length === 0 ? bytes : Buffer.concat([...kept, bytes.subarray(keepFrom)]);
}
