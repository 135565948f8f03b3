import { randomBytes, randomFillSync } from 'node:crypto';

/**
 * The text that stands for a provider key until its header is written. 128 random bits of this process mark it, so that nobody can
 * smuggle one in; a counter and 96 fresh bits make each good for one call only.
 */
export const placeholderMark = `{{${randomBytes(16).toString('hex')}:`;
const closing = '}}';

const randomPerCall = 12;
// One system call for some hundreds of calls.
const block = Buffer.alloc(randomPerCall * 512);
let used = block.length;
let counter = 0;

export function newPlaceholder(): string {
  if (used === block.length) {
    randomFillSync(block);
    used = 0;
  }
  const random = block.toString('hex', used, used + randomPerCall);
  used += randomPerCall;
  counter += 1;
  return `${placeholderMark}${counter.toString(36)}.${random}${closing}`;
}
