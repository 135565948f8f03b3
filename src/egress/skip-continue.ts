import type { Socket } from 'node:net';

/** The call on the connection, as far as its first bytes matter. */
export interface Awaiting {
  /** A final answer, or any informational one that undici may see, has begun. */
  readonly isAnswered: boolean;
}

/** Some servers say it unasked, and more than once. */
const continueHead = /^HTTP\/1\.1 100[ \r][^]*?\r\n\r\n/;
const startOfContinue = 'HTTP/1.1 100';
const maxHeadBytes = 16_384;

/**
 * Takes `100 Continue` out of what is read for a call that has no answer yet: undici ends the connection over one that it did not ask
 * for, where RFC 9110, 15.2 has a client pass over it. Every other byte goes on as it came.
 */
export function skipContinue(socket: Socket, awaiting: () => Awaiting | null): void {
  const read = socket.read.bind(socket) as (size?: number) => Buffer | null;
  let call: Awaiting | null = null;
  let isLooking = false;
  let held: Buffer | null = null;

  socket.read = (size?: number): Buffer | null => {
    const chunk = read(size);
    const present = awaiting();
    if (present !== call) {
      call = present;
      isLooking = present !== null && !present.isAnswered;
      held = null;
    }
    if (chunk === null || !isLooking) return chunk;
    let bytes = held === null ? chunk : Buffer.concat([held, chunk]);
    held = null;
    for (
      let found = continueHead.exec(textOf(bytes));
      found !== null;
      found = continueHead.exec(textOf(bytes))
    )
      bytes = bytes.subarray(found[0].length);
    if (bytes.length <= maxHeadBytes && mayBeContinue(bytes)) {
      held = bytes;
      return null;
    }
    isLooking = false;
    return bytes;
  };
}

/** Of an answer that is none, the first byte behind the version says so. */
function textOf(bytes: Buffer): string {
  const start = bytes.toString('latin1', 0, startOfContinue.length);
  return start === startOfContinue ? bytes.toString('latin1', 0, maxHeadBytes) : start;
}

function mayBeContinue(bytes: Buffer): boolean {
  const start = bytes.toString('latin1', 0, startOfContinue.length + 1);
  return (
    startOfContinue.startsWith(start) || start === `${startOfContinue} ` || start === `${startOfContinue}\r`
  );
}
