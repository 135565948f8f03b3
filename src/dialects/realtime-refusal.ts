import { isObject, parseJson } from './dialect.ts';

/** How OpenAI and xAI name a refusal of the key. */
const words = new Set([
  'invalid_api_key',
  'invalid_authentication',
  'authentication_error',
  'account_deactivated',
]);

/**
 * Is this message of a provider a refusal of the key? OpenAI opens the WebSocket first and says so in its first event, with the ends of
 * the key in the text.
 */
export function refusesKeyInBand(message: Buffer): boolean {
  const event = parseJson(message.toString('utf8'));
  if (!isObject(event) || event['type'] !== 'error' || !isObject(event['error'])) return false;
  const { type, code } = event['error'];
  return [type, code].some((word) => typeof word === 'string' && words.has(word));
}
