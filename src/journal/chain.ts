import { hash as digest } from 'node:crypto';
import type { Batch } from './batch.ts';
import type { JsonValue } from './canonical.ts';
import type { Draft } from './draft.ts';

/** A record as it was read. `hash` is 64 hex digits; `seq` counts from 0 in its stream without a gap. */
export interface JournalRecord {
  readonly v: number;
  readonly stream: string;
  readonly seq: number;
  readonly at: string;
  readonly event: string;
  readonly hash: string;
  readonly [field: string]: JsonValue;
}

/** The place of a record: its stream, number and hash. */
export interface Head {
  readonly stream: string;
  readonly seq: number;
  readonly hash: string;
}

/** Proof that a record is durable. `text` goes to the client (`x-sallyport-receipt`). */
export interface Receipt extends Head {
  readonly text: string;
}

/** What stands before record 0. */
export const genesisHash = '0'.repeat(64);

/** Domain separation: 0x00 and 0x01 are leaf and node of the Merkle tree (RFC 6962, 2.1), a record of the chain is 0x02. */
const recordTag = 0x02;
const prefixBytes = 33;
/** `,"hash":"` + 64 + `"`. */
const hashBytes = 74;

export interface Chain {
  readonly stream: string;
  /** The number that the next record gets. */
  nextSeq(): number;
  headHash(): string;
  /** Gives the draft its place and writes its line into the batch. */
  link(draft: Draft, into: Batch): Receipt;
}

/**
 * A chain from its beginning. hash = SHA-256(0x02 ‖ previous hash, 32 bytes ‖ canonical JSON without the member `hash`).
 *
 * The text is encoded once, into the batch where its line will stand, is hashed there with what belongs before it, and then moved apart
 * for the hash: by way of a buffer of its own, with a view for each copy, a record took 0.3 µs more.
 */
export function createChain(stream: string): Chain {
  const streamMember = `,"stream":${JSON.stringify(stream)}`;
  const receiptStart = `${stream}.`;
  let seq = 0;
  let head = genesisHash;
  return Object.freeze({
    stream,
    nextSeq: () => seq,
    headHash: () => head,
    link(draft: Draft, into: Batch): Receipt {
      const text = `${draft.beforeHash}${draft.beforeSeq},"seq":${seq}${draft.beforeStream}${streamMember}${draft.rest}`;
      // A UTF-16 code unit is at most three bytes of UTF-8.
      const buffer = into.room(prefixBytes + text.length * 3 + hashBytes + 1);
      const start = into.length();
      const textStart = start + prefixBytes;
      buffer[start] = recordTag;
      buffer.write(head, start + 1, 'hex');
      const bytes = buffer.write(text, textStart, 'utf8');
      const cut = bytes === text.length ? draft.beforeHash.length : Buffer.byteLength(draft.beforeHash);
      const hash = digest('sha256', new Uint8Array(buffer.buffer, start, prefixBytes + bytes), 'hex');
      // What follows the hash first: it moves to the right, out of the way of what moves to the left.
      buffer.copyWithin(start + cut + hashBytes, textStart + cut, textStart + bytes);
      buffer.copyWithin(start, textStart, textStart + cut);
      buffer.write(`,"hash":"${hash}"`, start + cut, 'latin1');
      buffer[start + bytes + hashBytes] = 0x0a;
      into.add(bytes + hashBytes + 1);
      const receipt = { stream, seq, hash, text: `${receiptStart}${seq}.${hash.slice(0, 16)}` };
      head = hash;
      seq += 1;
      return receipt;
    },
  });
}

function emptyScratch(bytes: number): Buffer {
  const buffer = Buffer.allocUnsafe(bytes);
  buffer[0] = recordTag;
  return buffer;
}

/**
 * The hash that a line should have after `previous`, or null if it doesn't hold its own hash as a member.
 *
 * The member is cut from the bytes rather than the record written anew: the text `,"hash":"<its own hash>"` can't stand in a
 * record a second time, for a record would have to contain its own digest. `verify` also compares with the canonical form.
 */
export function hashOfLine(line: Buffer, own: string, previous: string): string | null {
  const at = line.indexOf(`,"hash":"${own}"`);
  if (at < 0) return null;
  const after = at + 10 + own.length;
  const input = Buffer.allocUnsafe(prefixBytes + line.length - (after - at));
  input[0] = recordTag;
  input.write(previous, 1, 'hex');
  line.copy(input, prefixBytes, 0, at);
  line.copy(input, prefixBytes + at, after);
  return digest('sha256', input, 'hex');
}

/** The same of a line as text. Kept: one buffer, for millions of lines are looked at in a row. */
export function createTextHash(): (text: string, own: string, previous: string) => string | null {
  let scratch = emptyScratch(16_384);
  return function hashOfText(text, own, previous) {
    const at = text.indexOf(`,"hash":"${own}"`);
    if (at < 0) return null;
    if (scratch.length < prefixBytes + text.length * 3) scratch = emptyScratch(prefixBytes + text.length * 3);
    scratch.write(previous, 1, 'hex');
    const middle = prefixBytes + scratch.write(text.slice(0, at), prefixBytes, 'utf8');
    const end = middle + scratch.write(text.slice(at + 10 + own.length), middle, 'utf8');
    return digest('sha256', scratch.subarray(0, end), 'hex');
  };
}

/** A line as a record, or null if it is not one: not JSON, or without the members that every record has. */
export function parseRecord(line: Buffer): JournalRecord | null {
  return parseRecordText(line.toString('utf8'));
}

export function parseRecordText(text: string): JournalRecord | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const record = value as Partial<JournalRecord>;
  const isRecord =
    record.v === 1 &&
    typeof record.stream === 'string' &&
    Number.isSafeInteger(record.seq) &&
    typeof record.at === 'string' &&
    typeof record.event === 'string' &&
    typeof record.hash === 'string' &&
    /^[0-9a-f]{64}$/.test(record.hash);
  return isRecord ? (record as JournalRecord) : null;
}

/** What an answer carries: `<stream>.<seq>.<first 16 hex of the hash>`. */
export function receiptText(head: Head): string {
  return `${head.stream}.${head.seq}.${head.hash.slice(0, 16)}`;
}
