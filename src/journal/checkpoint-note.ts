import type { Note } from './note.ts';

/** How far a stream is covered: its records `firstSeq` to `nextSeq` - 1 are leaves of this checkpoint's tree. */
export interface CoveredStream {
  readonly stream: string;
  readonly firstSeq: number;
  readonly nextSeq: number;
  /** Hex hash of record `nextSeq` - 1. */
  readonly headHash: string;
}

/**
 * What a checkpoint states. Its tree is its own: the leaves are the hashes of the records that came since the checkpoint before, streams in
 * the order of their names, records in that of their numbers.
 */
export interface Checkpoint {
  /** From 1. */
  readonly number: number;
  /** RFC 3339, UTC, ms. */
  readonly at: string;
  /** Leaves. */
  readonly size: number;
  /** Hex. */
  readonly root: string;
  /** Hex SHA-256 of the text of the note before; 64 zeros in the first. */
  readonly previous: string;
  /** Those with new records, sorted by name. A stream that is left out stands where an earlier checkpoint says. */
  readonly streams: readonly CoveredStream[];
}

/** Before the first checkpoint. */
export const noCheckpoint = '0'.repeat(64);

/** The name that the deployment signs under. */
export function noteName(deploymentId: string): string {
  return `sallyport/${deploymentId}`;
}

/**
 * The text of a checkpoint (C2SP, tlog-checkpoint): origin, size, root, extension lines. Each has an origin of its own, because each
 * is a tree of its own.
 */
export function checkpointText(name: string, checkpoint: Checkpoint): string {
  const { at, number, previous, root, size, streams } = checkpoint;
  const lines = [
    `${name}/${number}`,
    String(size),
    Buffer.from(root, 'hex').toString('base64'),
    `at ${at}`,
    `previous ${previous}`,
    ...streams.map(streamLine),
  ];
  return `${lines.join('\n')}\n`;
}

/** How a note names records of a stream. */
export function streamLine({ firstSeq, headHash, nextSeq, stream }: CoveredStream): string {
  return `stream ${stream} ${firstSeq} ${nextSeq} ${headHash}`;
}

/** Null: the line names none. */
export function readStreamLine(line: string): CoveredStream | null {
  const [, stream, firstSeq, nextSeq, headHash] = streamShape.exec(line) ?? [];
  if (stream === undefined || headHash === undefined) return null;
  const covered = { stream, firstSeq: Number(firstSeq), nextSeq: Number(nextSeq), headHash };
  return covered.firstSeq < covered.nextSeq ? covered : null;
}

const whole = '(0|[1-9]\\d{0,15})';
const shape = new RegExp(
  `^(\\S{1,200})/${whole}\\n${whole}\\n([A-Za-z0-9+/]{43}=)\\nat (\\S{24})\\nprevious ([0-9a-f]{64})\\n((?:stream .*\\n)*)$`,
);
const streamShape = new RegExp(`^stream (\\S{1,200}) ${whole} ${whole} ([0-9a-f]{64})$`);

/** Null: it states something else, or not in these words. */
export function readCheckpoint({
  text,
}: Pick<Note, 'text'>): (Checkpoint & { readonly name: string }) | null {
  const [, name, number, size, root, at, previous, rest] = shape.exec(text) ?? [];
  if (name === undefined || at === undefined || previous === undefined || rest === undefined) return null;
  const streams: CoveredStream[] = [];
  for (const line of rest.split('\n').slice(0, -1)) {
    const covered = readStreamLine(line);
    if (covered === null) return null;
    streams.push(covered);
  }
  const checkpoint = {
    name,
    number: Number(number),
    at,
    size: Number(size),
    root: Buffer.from(root ?? '', 'base64').toString('hex'),
    previous,
    streams,
  };
  return isSound(checkpoint) && checkpointText(name, checkpoint) === text ? checkpoint : null;
}

function isSound({ at, number, size, streams }: Checkpoint): boolean {
  const leaves = streams.reduce((sum, { firstSeq, nextSeq }) => sum + nextSeq - firstSeq, 0);
  return (
    number > 0 &&
    leaves === size &&
    !Number.isNaN(Date.parse(at)) &&
    streams.every(({ stream }, i) => i === 0 || (streams[i - 1]?.stream ?? '') < stream)
  );
}

/** What the note of a signing key states: who signs from now on, and in whose place. Keys as `verifierText` writes them. */
export interface KeyIntroduction {
  readonly key: string;
  /** Null: the first. */
  readonly replaces: string | null;
  readonly at: string;
}

export function introductionText(name: string, { at, key, replaces }: KeyIntroduction): string {
  return `${name}/key\nkey ${key}\nreplaces ${replaces ?? '-'}\nat ${at}\n`;
}

/** Null: it states something else, or not in these words. */
export function readIntroduction({ text }: Pick<Note, 'text'>): (KeyIntroduction & { name: string }) | null {
  const [, name = '', key = '', replaces, at = ''] =
    /^(\S{1,200})\/key\nkey (\S{1,300})\nreplaces (\S{1,300})\nat (\S{24})\n$/.exec(text) ?? [];
  if (name === '') return null;
  return { name, key, replaces: replaces === '-' || replaces === undefined ? null : replaces, at };
}
