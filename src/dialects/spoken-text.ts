import { readTopLevel } from './top-level.ts';

/** Code points of the `input` of a speech request, which older models are paid by; null where it is no text. */
export function spokenCharacters(body: Buffer): number | null {
  const span = readTopLevel(body, ['input']).values['input'];
  if (span === undefined || body[span.start] !== 0x22) return null;
  const text = JSON.parse(body.toString('utf8', span.start, span.end)) as string;
  let count = 0;
  for (const _point of text) count += 1;
  return count;
}
