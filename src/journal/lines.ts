import type { FileHandle } from 'node:fs/promises';

/** Whole lines of a file, read in one go: slices of the buffer that was read into. */
export interface Lines {
  readonly lines: readonly Buffer[];
  /** Where the next read begins: after the last whole line. */
  readonly next: number;
  /** Bytes behind it that end in no newline, at the end of the file. */
  readonly unfinished: number;
}

/** A record is at most 256 KiB (journal.ts); what is longer than this without a newline is no record. */
const maxLineBytes = 4 * 1024 * 1024;
const newline = 0x0a;

/**
 * Half a MiB by default: about 500 records, checked in 5 ms, for which the event loop stands still.
 *
 * @param buffer is filled at the most; a longer line gets a new one.
 * @returns no lines and `unfinished` 0 at the end of the file.
 */
export async function readLines(
  file: FileHandle,
  offset: number,
  buffer: Buffer = Buffer.allocUnsafeSlow(512 * 1024),
): Promise<Lines> {
  const bytes = buffer.length;
  const length = await fill(file, buffer, offset);
  const lines: Buffer[] = [];
  let start = 0;
  for (let end = find(buffer, start, length); end >= 0; end = find(buffer, start, length)) {
    lines.push(buffer.subarray(start, end));
    start = end + 1;
  }
  if (start === 0 && length === bytes && bytes < maxLineBytes)
    return readLines(file, offset, Buffer.allocUnsafeSlow(bytes * 2));
  return { lines, next: offset + start, unfinished: length < bytes || start === 0 ? length - start : 0 };
}

async function fill(file: FileHandle, buffer: Buffer, offset: number): Promise<number> {
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, offset + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return length;
}

function find(buffer: Buffer, from: number, length: number): number {
  const at = buffer.indexOf(newline, from);
  return at < length ? at : -1;
}
