import type { JsonValue } from './canonical.ts';
import type { Fields } from './draft.ts';

/**
 * What begins must end: `use.begin` by `use.end` of the same call and attempt, `<act>.intent` by `.done` or `.failed` of the
 * same act. `opens` and `closes` are the key, or null.
 */
export interface Duty {
  readonly opens: string | null;
  readonly closes: string | null;
}

const none: Duty = Object.freeze({ opens: null, closes: null });

export function dutyOf(event: string, fields: Fields): Duty {
  if (event === 'use.begin') return { opens: callKey(fields), closes: null };
  if (event === 'use.end') return { opens: null, closes: callKey(fields) };
  if (event.endsWith('.intent')) return { opens: idText(fields['actId']), closes: null };
  if (event.endsWith('.done') || event.endsWith('.failed')) {
    return { opens: null, closes: idText(fields['actId']) };
  }
  return none;
}

function callKey(fields: Fields): string {
  return `${idText(fields['callId'])}#${idText(fields['attempt'])}`;
}

/** The open duties of this process, in the order in which they were acknowledged. As many as calls are in flight. */
export interface Obligations {
  note(duty: Duty, stream: string, seq: number): void;
  /** The first record of the stream that still waits for its end; its segment must stay on disk, for a crash would need it. */
  oldest(stream: string): number | null;
}

export function createObligations(): Obligations {
  const open = new Map<string, { stream: string; seq: number }>();
  return Object.freeze({
    note(duty: Duty, stream: string, seq: number) {
      if (duty.opens !== null) open.set(duty.opens, { stream, seq });
      else if (duty.closes !== null) open.delete(duty.closes);
    },
    oldest(stream: string) {
      for (const place of open.values()) if (place.stream === stream) return place.seq;
      return null;
    },
  });
}

/** An id as a key of a map; a damaged record may have anything in its place. */
export function idText(value: JsonValue | undefined): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? null);
}
