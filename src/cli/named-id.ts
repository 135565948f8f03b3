import { isId } from '../ids.ts';
import { AnsweredError } from './failure.ts';

/** What ids that are typed name, and the command that lists them. */
const kinds = {
  key: ['key', 'keys list'],
  seal: ['seal', 'seals list'],
  tok: ['token', 'tokens list'],
  alias: ['alias', 'aliases list'],
  price: ['price', 'prices list'],
  alert: ['alert', 'alerts list'],
  hook: ['webhook', 'webhooks list'],
  call: ['call', 'usage calls'],
} as const;

/**
 * An id as somebody typed it. What is none stands in no URL: it may be a secret.
 *
 * @throws {AnsweredError} NOT_FOUND
 */
export function idOf(prefix: keyof typeof kinds, text: string): string {
  if (isId(prefix, text)) return text;
  const [noun, list] = kinds[prefix];
  throw new AnsweredError(
    'NOT_FOUND',
    `There is no such ${noun}.`,
    `bin/sallyport ${list} shows the ids (${prefix}_…).`,
  );
}
