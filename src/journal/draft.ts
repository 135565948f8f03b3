import { canonicalize, isSame, type JsonValue } from './canonical.ts';
import type { JournalRecord } from './chain.ts';

export type Fields = Readonly<Record<string, JsonValue>>;

/**
 * A record whose place in a chain is still open: the canonical text, cut where `hash`, `seq` and `stream` will stand.
 * Made when a record is handed in (so that a later change of the fields can't reach it), placed when its batch is written.
 * `at` and `event` sort before `hash`, so every cut has a member before it and every inserted member begins with a comma.
 */
export interface Draft {
  readonly beforeHash: string;
  readonly beforeSeq: string;
  readonly beforeStream: string;
  readonly rest: string;
}

/** Members that the journal itself writes. */
const reserved = new Set(['v', 'stream', 'seq', 'at', 'event', 'hash']);

/** One member: `text` is its name and colon (`,"callId":`), `field` the field to encode, or null where text is all of it. */
interface Member {
  readonly text: string;
  readonly field: string | null;
  /** The value that it had in the record before, and name and value as they were written. Texts and numbers alone: they can't change. */
  last: JsonValue | undefined;
  lastText: string;
  /** Records in a row that had another. */
  misses: number;
}

/** A member that is never the same, such as the call's id, is not remembered for long. */
const maxMisses = 64;

interface Shape {
  readonly names: readonly string[];
  readonly parts: readonly [readonly Member[], readonly Member[], readonly Member[], readonly Member[]];
}

/**
 * Sorting 30 names costs more than the rest of a record, and a call site hands in the same names in the same order each
 * time: the sorted order is kept by event. Event names come from our code alone; the bound is against a mistake.
 */
const shapes = new Map<string, Shape>();
const maxShapes = 512;

/** @throws {TypeError} for a value that JSON does not have, or a field that the journal writes itself. */
export function draft(event: string, fields: Fields, at: string): Draft {
  const names = Object.keys(fields);
  const shape = shapeOf(event, names);
  return {
    beforeHash: write(shape.parts[0], fields, at),
    beforeSeq: write(shape.parts[1], fields, at),
    beforeStream: write(shape.parts[2], fields, at),
    rest: `${write(shape.parts[3], fields, at)}}`,
  };
}

/** The draft of a line that was placed in a chain and shall be placed in another: nobody has acknowledged it there. */
export function draftOf(line: string): Draft {
  const record = JSON.parse(line) as JournalRecord;
  const fields = Object.entries(record).filter(([name]) => !reserved.has(name));
  return draft(record.event, Object.fromEntries(fields), record.at);
}

/** Half the members are what they were in the record before: writing these as they were saves 0.5 µs a call. */
function write(members: readonly Member[], fields: Fields, at: string): string {
  let text = '';
  for (const member of members) {
    if (member.field === null) {
      text += member.text;
      continue;
    }
    const value = member.field === 'at' ? at : fields[member.field];
    if (value === member.last && value !== undefined) {
      member.misses = 0;
      text += member.lastText;
    } else if (member.misses < maxMisses && (value === null || typeof value !== 'object')) {
      member.misses += 1;
      member.lastText = member.text + canonicalize(value as JsonValue, 1);
      member.last = value;
      text += member.lastText;
    } else text += member.text + canonicalize(value as JsonValue, 1);
  }
  return text;
}

function shapeOf(event: string, names: readonly string[]): Shape {
  const known = shapes.get(event);
  if (known !== undefined && isSame(known.names, names)) return known;
  const shape = makeShape(event, names);
  if (shapes.size >= maxShapes) shapes.clear();
  shapes.set(event, shape);
  return shape;
}

function makeShape(event: string, names: readonly string[]): Shape {
  for (const name of names) {
    if (reserved.has(name)) throw new TypeError(`the journal writes "${name}" itself`);
  }
  const parts: [Member[], Member[], Member[], Member[]] = [[], [], [], []];
  let part = 0;
  let isFirst = true;
  for (const name of [...names, ...reserved].toSorted()) {
    if (name === 'hash' || name === 'seq' || name === 'stream') {
      part += 1;
      continue;
    }
    const label = `${isFirst ? '{' : ','}${canonicalize(name)}:`;
    isFirst = false;
    const constant = name === 'v' ? '1' : name === 'event' ? canonicalize(event) : null;
    parts[part]?.push({
      text: label + (constant ?? ''),
      field: constant === null ? name : null,
      last: undefined,
      lastText: '',
      misses: 0,
    });
  }
  return { names: [...names], parts };
}
