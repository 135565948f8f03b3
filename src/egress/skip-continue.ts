import type { Socket } from 'node:net';

/** The call on the connection, as far as its first bytes matter. */
export interface Awaiting {
  /** A final answer, or any informational one that undici may see, has begun. */
  readonly isAnswered: boolean;
}

/** With 101 the answer is final: what follows is no HTTP. */
const interimStart = /^HTTP\/1\.1 1(?!01)\d\d[ \r]$/;
const startOfContinue = 'HTTP/1.1 100';
const startBytes = startOfContinue.length + 1;
/** Where the status has its first digit, by which a usual answer is told without a text being made of it. */
const classAt = 'HTTP/1.1 '.length;
const digitOne = 0x31;
const headEnd = Buffer.from('\r\n\r\n');
/** A longer one ends the call in undici: `maxHeaderBytes` of connection.ts. */
const maxHeadBytes = 16_384;

/**
 * Takes `100 Continue` out of what is read for a call that has no answer yet: undici ends the connection over one that it did not ask
 * for, where RFC 9110, 15.2 has a client pass over it. Some servers say it more than once, or behind `103 Early Hints`. Every other byte
 * goes on as it came, an informational head in one piece.
 */
export function skipContinue(socket: Socket, awaiting: () => Awaiting | null): void {
  const read = socket.read.bind(socket) as (size?: number) => Buffer | null;
  let call: Awaiting | null = null;
  let isLooking = false;
  let held: Buffer | null = null;

  /** Undefined: something came, and nothing of it goes on yet. */
  const next = (size?: number): Buffer | null | undefined => {
    const chunk = read(size);
    const present = awaiting();
    if (present !== call) {
      call = present;
      isLooking = present !== null && !present.isAnswered;
      held = null;
    }
    if (chunk === null || !isLooking) return chunk;
    if (held === null && chunk.length > classAt && chunk[classAt] !== digitOne) {
      isLooking = false;
      return chunk;
    }
    const bytes = held === null ? chunk : Buffer.concat([held, chunk]);
    const { kept, rest, isHead } = interimsOf(bytes);
    isLooking = isHead;
    held = isHead && rest.length > 0 ? rest : null;
    const passed = isHead ? kept : [...kept, rest];
    return passed.length < 2 ? passed[0] : Buffer.concat(passed);
  };

  socket.read = (size?: number): Buffer | null => {
    for (;;) {
      const bytes = next(size);
      if (bytes !== undefined) return bytes;
      // To null undici reads on only when more arrives, and what waits may be all that ever comes.
      if (socket.readableLength === 0) return null;
    }
  };
}

/** `rest` may be the beginning of one more informational head, or is what the search ends with: `isHead` says which. */
function interimsOf(bytes: Buffer): { kept: Buffer[]; rest: Buffer; isHead: boolean } {
  const kept: Buffer[] = [];
  for (let rest = bytes; ;) {
    const start = rest.toString('latin1', 0, startBytes);
    if (!mayBeInterim(start)) return { kept, rest, isHead: false };
    const end = rest.indexOf(headEnd) + headEnd.length;
    if (end < headEnd.length) return { kept, rest, isHead: rest.length <= maxHeadBytes };
    if (end > maxHeadBytes) return { kept, rest, isHead: false };
    if (!start.startsWith(startOfContinue)) kept.push(rest.subarray(0, end));
    rest = rest.subarray(end);
  }
}

/** @param start of a head; what has not come yet is taken for what it would have to be */
function mayBeInterim(start: string): boolean {
  return interimStart.test(start + `${startOfContinue} `.slice(start.length));
}
