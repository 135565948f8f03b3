import { open } from 'node:fs/promises';
import type { JournalRecord } from './chain.ts';
import type { Fault } from './cursor.ts';
import { isErrno } from './file-seam.ts';
import { readLines } from './lines.ts';
import { lastCounted, lostMark } from './lost-mark.ts';
import type { StreamFiles } from './stream-files.ts';
import { isLocked } from './stream-lock.ts';
import { createStreamChecker } from './verify-stream.ts';

export interface FileRecord {
  readonly record: JournalRecord;
  /** The line. */
  readonly text: string;
}

/**
 * Reads one stream's files whole, reporting what is wrong with them, and yields the records a chunk at a time.
 *
 * @param before the hash before the first segment, where the database knows it; null: not known.
 */
export async function* checkFiles(
  files: StreamFiles,
  before: string | null,
  report: (fault: Fault) => void,
): AsyncGenerator<readonly FileRecord[]> {
  const { condemnedAfter, segments, stream } = files;
  const until = lastCounted(files);
  const lost = lostMark(files);
  if (lost !== null) report(lost);
  const checker = createStreamChecker(stream, report);
  if ((segments[0]?.firstSeq ?? 0) > 0) checker.resume(segments[0]?.firstSeq ?? 0, before);
  let unfinished = 0;
  for (const segment of segments) {
    const file = await open(segment.path, 'r').catch((error: unknown) => {
      // Shipped and deleted since the listing.
      if (isErrno(error, 'ENOENT')) return null;
      throw error;
    });
    if (file === null) {
      checker.resume(segments[segments.indexOf(segment) + 1]?.firstSeq ?? checker.nextSeq(), null);
      continue;
    }
    try {
      for (let offset = 0; checker.nextSeq() <= until;) {
        const chunk = await readLines(file, offset);
        unfinished = chunk.unfinished;
        if (chunk.lines.length === 0) break;
        offset = chunk.next;
        const records: FileRecord[] = [];
        for (const line of chunk.lines) {
          if (checker.nextSeq() > until) break;
          const text = line.toString('utf8');
          const record = checker.check(text, Buffer.byteLength(text) === line.length);
          if (record !== null) records.push({ record, text });
        }
        yield records;
      }
    } finally {
      await file.close();
    }
  }
  const seq = checker.nextSeq();
  if (until !== Infinity && seq <= until) {
    report({
      stream,
      seq,
      kind: 'missing',
      message: `The stream was acknowledged up to record ${until} and ends before it.`,
    });
  }
  // Of a stream that is being written, the last line may be on its way.
  if (unfinished > 0 && condemnedAfter === null && !isLocked(files.base)) {
    report({ stream, seq, kind: 'torn', message: `The last line breaks off after ${unfinished} bytes.` });
  }
}
