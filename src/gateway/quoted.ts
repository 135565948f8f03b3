import { scrub } from '../telemetry/scrub.ts';

/** What a client wrote where a name belongs may be a key. */
export function quoted(text: string): string {
  return JSON.stringify(scrub(text.length > 80 ? `${text.slice(0, 80)}…` : text));
}
