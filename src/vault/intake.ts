import { isUtf8 } from 'node:buffer';
import { SallyportError } from '../errors.ts';
import { secretBuffer, secretCopy, wipe } from '../secret.ts';
import { isString, isStringToken, scanObject, unescapeString, type Member } from './json-bytes.ts';
import { isPrintable, maxSecretBytes, minSecretBytes } from './secret-bytes.ts';

const maxBodyBytes = 65_536;
const [zero, space, n] = [0x30, 0x20, 0x6e];

/**
 * Cuts a provider key out of a request's JSON as bytes, before anything makes a string of it: the top-level member `value`, also when
 * its name is written with escapes.
 *
 * @param body  up to 64 KiB. The key is wiped in it; on any error the whole of it is.
 * @returns `json`: the body without `value`. `secret`: 8 to 8192 bytes, the caller's to wipe; null without a value, or a null one.
 * @throws {SallyportError} REQUEST_INVALID, BODY_TOO_LARGE, KEY_FORMAT. Never carries a part of the body.
 */
export function cutValue(body: Buffer): { readonly json: unknown; readonly secret: Buffer | null } {
  let secret: Buffer | null = null;
  try {
    if (body.length > maxBodyBytes)
      throw new SallyportError('BODY_TOO_LARGE', 'The body is larger than 64 KiB.');
    const members = scan(body);
    const values = members.filter(({ keyStart, keyEnd }) => isString(body, keyStart, keyEnd, 'value'));
    if (values.length > 1)
      throw new SallyportError('REQUEST_INVALID', 'The body has "value" more than once.');
    const [value] = values;
    if (value !== undefined) {
      secret = take(body, value);
      // JSON.parse and whoever logs the body from here on see a harmless number.
      body.fill(space, value.start, value.end);
      body[value.start] = zero;
    }
    return { json: parseRest(body), secret };
  } catch (error) {
    wipe(body, secret);
    throw error;
  }
}

/**
 * A key that came by another way than JSON: standard input, the environment.
 *
 * @throws {SallyportError} KEY_FORMAT; never echoes the value.
 */
export function checkSecret(secret: Uint8Array): void {
  refuseOwnToken(secret);
  if (secret.length >= minSecretBytes && secret.length <= maxSecretBytes && isPrintable(secret)) return;
  throw new SallyportError(
    'KEY_FORMAT',
    'A provider key has 8 to 8192 printable ASCII characters and no white space.',
    { fix: 'Paste the key again, whole, without spaces or line breaks.' },
  );
}

function scan(body: Buffer): readonly Member[] {
  try {
    if (isUtf8(body)) return scanObject(body);
  } catch {
    // The cause names nothing useful to the caller.
  }
  throw new SallyportError('REQUEST_INVALID', 'The body is not a JSON object.');
}

function take(body: Buffer, { start, end }: Member): Buffer | null {
  if (!isStringToken(body, start)) {
    if (body[start] === n) return null;
    throw new SallyportError('REQUEST_INVALID', '"value" must be a string.', {
      errors: [{ path: '/value', message: 'must be a string' }],
    });
  }
  const room = secretBuffer(end - start - 2);
  try {
    const secret = secretCopy(room.subarray(0, unescapeString(body, start, end, room)));
    try {
      checkSecret(secret);
      return secret;
    } catch (error) {
      wipe(secret);
      throw error;
    }
  } finally {
    wipe(room);
  }
}

function parseRest(body: Buffer): unknown {
  try {
    const json = JSON.parse(body.toString('utf8')) as Record<string, unknown>;
    delete json['value'];
    return json;
  } catch {
    // The parser's message quotes its input.
    throw new SallyportError('REQUEST_INVALID', 'The body is not a JSON object.');
  }
}

const ownPrefixes = ['spt_', 'spa_', 'sps_'].map((prefix) => Buffer.from(prefix));

/** A token of ours in a provider key's place is a mix-up that would be sent to the provider: a gateway's own environment often holds one. */
function refuseOwnToken(secret: Uint8Array): void {
  const start = Buffer.from(secret.buffer, secret.byteOffset, Math.min(4, secret.byteLength));
  if (!ownPrefixes.some((prefix) => prefix.equals(start))) return;
  throw new SallyportError(
    'KEY_FORMAT',
    'That is a token of Sallyport’s own (spt_, spa_ or sps_), not a provider key.',
    {
      fix: 'Paste the key that the provider gave you.',
    },
  );
}
