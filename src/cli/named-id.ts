import { isId } from '../ids.ts';
import { AnsweredError } from './failure.ts';

/** The id of a provider key, as somebody typed it. @throws {AnsweredError} NOT_FOUND: it is none, and stands in no URL. */
export function keyIdOf(text: string): string {
  if (isId('key', text)) return text;
  throw new AnsweredError(
    'NOT_FOUND',
    'There is no such key.',
    'bin/sallyport keys list shows the ids (key_…).',
  );
}

/** The same for a seal's: what was typed may be its secret. */
export function sealIdOf(text: string): string {
  if (isId('seal', text)) return text;
  throw new AnsweredError(
    'NOT_FOUND',
    'There is no such seal.',
    'bin/sallyport seals list shows the ids (seal_…).',
  );
}
