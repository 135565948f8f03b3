import { readTopLevel } from './top-level.ts';

/** OpenAI takes 4096 characters; a longer text is not worth the time of counting it. */
const maxBytes = 1024 * 1024;

/** Code points of the `input` of a speech request, which older models are paid by; null where it is no text, or longer than 1 MiB. */
export function spokenCharacters(body: Buffer): number | null {
  const span = readTopLevel(body, ['input']).values['input'];
  if (span === undefined || body[span.start] !== 0x22 || span.end - span.start > maxBytes) return null;
  const text = JSON.parse(body.toString('utf8', span.start, span.end)) as string;
  let count = 0;
  for (const _point of text) count += 1;
  return count;
}
