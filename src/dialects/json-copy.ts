import { isObject, type JsonObject, type JsonValue, parseJson } from './dialect.ts';
import { withoutLongTexts } from './long-texts.ts';

/** A bounded copy of a JSON answer, by reference to its chunks. */
export interface JsonCopy {
  push(chunk: Buffer): void;
  /** Null: cut, or no JSON. */
  read(): JsonAnswer | null;
}

export interface JsonAnswer {
  /** Gemini's streams without `alt=sse` are one array of answers. */
  readonly isArray: boolean;
  /** Ollama's streams are a line of JSON each. */
  readonly isLines: boolean;
  readonly objects: readonly JsonObject[];
  /** All that is left of a longer one is its last members. */
  readonly isTail: boolean;
}

const oneObject = { isArray: false, isLines: false, isTail: false } as const;

/** How much of an answer too long to keep stays in sight: counts stand near the end of it. */
const tailBytes = 64 * 1024;

/**
 * Beyond `maxBytes` long texts are left out, and where that is not enough only the end is kept. Vectors come before the counts, so these are
 * still found, and proved to be members of the outermost object: what follows their name must end exactly where the answer ends.
 */
export function createJsonCopy(maxBytes: number, names: readonly string[]): JsonCopy {
  let kept: Buffer[] = [];
  let keptBytes = 0;
  let isCut = false;

  return Object.freeze({
    push(chunk: Buffer): void {
      kept.push(chunk);
      keptBytes += chunk.length;
      if (keptBytes > maxBytes || kept.length > 4096) {
        const all = keptBytes > maxBytes ? withoutLongTexts(Buffer.concat(kept)) : Buffer.concat(kept);
        // Half, or what is left would be gone through again for a few bytes more.
        isCut ||= keptBytes > maxBytes && all.length > maxBytes / 2;
        // A copy, or the tail would hold the whole of it in memory.
        kept = [isCut ? Buffer.from(all.subarray(-tailBytes)) : all];
        keptBytes = kept[0]?.length ?? 0;
      } else if (isCut && keptBytes > 2 * tailBytes) {
        kept = [Buffer.from(Buffer.concat(kept).subarray(-tailBytes))];
        keptBytes = tailBytes;
      }
    },
    read(): JsonAnswer | null {
      const bytes = kept.length === 1 ? (kept[0] as Buffer) : Buffer.concat(kept);
      if (isCut) {
        const text = bytes.subarray(-tailBytes).toString('utf8');
        return lastMembers(text, names) ?? lines(text.slice(text.indexOf('\n') + 1));
      }
      const value = parseJson(bytes.toString('utf8'));
      if (Array.isArray(value))
        return { ...oneObject, isArray: true, objects: value.filter((item: JsonValue) => isObject(item)) };
      return isObject(value) ? { ...oneObject, objects: [value] } : lines(bytes.toString('utf8'));
    },
  });
}

/** Members from the first of `names` to the end of the outermost object, given the end of its text. */
function lastMembers(text: string, names: readonly string[]): JsonAnswer | null {
  const whole = text.trimEnd();
  const isArray = whole.endsWith(']');
  const end = isArray ? whole.slice(0, -1).trimEnd() : whole;
  for (const name of names) {
    const at = end.lastIndexOf(`"${name}"`);
    // Within a text the first quote would be escaped.
    if (at < 1 || end[at - 1] === '\\') continue;
    const value = parseJson(`{${end.slice(at)}`);
    if (isObject(value)) return { isArray, isLines: false, isTail: true, objects: [value] };
  }
  return null;
}

/** Null unless every line is an object of its own. */
function lines(text: string): JsonAnswer | null {
  const objects: JsonObject[] = [];
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const value = parseJson(line);
    if (!isObject(value)) return null;
    objects.push(value);
  }
  return objects.length === 0 ? null : { ...oneObject, isLines: true, objects };
}
