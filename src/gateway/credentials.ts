import { SallyportError } from '../errors.ts';
import { parseToken, type ParsedToken } from '../ids.ts';
import { parseSealSecret } from '../seal-text.ts';
import { secretBuffer, wipe } from '../secret.ts';
import { checkSecret } from '../vault/intake.ts';
import { credentialIn, protocolsIn } from './realtime-protocols.ts';
import { refuseSecretInUrl, secretInUrl } from './secret-in-url.ts';

/** Every place where an SDK puts its key. The gateway's token is taken from there and nothing of it goes upstream. */
const tokenHeaders: ReadonlySet<string> = new Set([
  'authorization',
  'x-api-key',
  'x-goog-api-key',
  'api-key',
]);
/** Sent once or not at all: Node keeps the first `authorization` and joins two `x-api-key`, so only rawHeaders tell. */
const single: ReadonlySet<string> = new Set([
  ...tokenHeaders,
  'host',
  'content-length',
  'content-type',
  'content-encoding',
  'transfer-encoding',
  'expect',
  'x-sallyport-provider',
  'x-sallyport-seal',
  'x-sallyport-provider-key',
]);

/** In memory of their own; the call's to wipe. */
export interface Secrets {
  /** 32 bytes; null where none came. */
  readonly seal: Buffer | null;
  /** The caller's own provider key; null where none came. */
  readonly providerKey: Buffer | null;
}

export interface Credentials extends Secrets {
  readonly token: ParsedToken;
  /** The token's text without its seal, as the key of the cache: one entry a token, whatever seals come with it. */
  readonly text: string;
  /** The query with `key=` taken out. */
  readonly query: string;
}

/**
 * The one gateway token of a request, and the two secrets that may come along.
 *
 * @param rawHeaders name, value, … as they came.
 * @param query `?…` or empty.
 * @throws {SallyportError} AUTH_MISSING, AUTH_INVALID (malformed, or an admin token), SEAL_WRONG (malformed), KEY_FORMAT (the provider key),
 *   REQUEST_INVALID (a credential twice, two that differ, or one in the URL that belongs nowhere near it). Never carries any of them.
 */
export function readCredentials(rawHeaders: readonly string[], query: string): Credentials {
  const seen = new Set<string>();
  let text: string | null = null;
  let sealText: string | null = null;
  let providerKeyText: string | null = null;
  const takeSeal = (candidate: string): void => {
    if (sealText !== null && sealText !== candidate)
      throw new SallyportError('REQUEST_INVALID', 'Two different seals came with this call; send one.');
    sealText = candidate;
  };
  const take = (candidate: string): void => {
    // A provider key that was put here by mistake may hold a dot; a token holds none.
    const dot = candidate.startsWith('spt_') ? candidate.indexOf('.') : -1;
    const bare = dot < 0 ? candidate : candidate.slice(0, dot);
    if (text !== null && text !== bare) {
      throw new SallyportError(
        'REQUEST_INVALID',
        'Two different credentials came with this call; send one gateway token.',
      );
    }
    text = bare;
    if (dot >= 0) takeSeal(candidate.slice(dot + 1));
  };
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] as string).toLowerCase();
    if (name === 'sec-websocket-protocol') {
      for (const protocol of protocolsIn(rawHeaders[i + 1] as string)) {
        const credential = credentialIn(protocol);
        if (credential !== null) take(credential);
      }
      continue;
    }
    if (!single.has(name)) continue;
    if (seen.has(name)) throw new SallyportError('REQUEST_INVALID', `The header ${name} came twice.`);
    seen.add(name);
    if (name === 'x-sallyport-seal') takeSeal((rawHeaders[i + 1] as string).trim());
    else if (name === 'x-sallyport-provider-key') providerKeyText = rawHeaders[i + 1] as string;
    else if (tokenHeaders.has(name)) {
      const value = (rawHeaders[i + 1] as string).trim();
      take(name === 'authorization' ? bearerOf(value) : value);
    }
  }
  const cut = takeKeyParameter(query);
  if (cut.key !== null) {
    if (cut.key.includes('sps_')) throw secretInUrl();
    take(cut.key);
  }
  if (cut.query !== '') refuseSecretInUrl(cut.query);
  if (text === null || text === '') {
    throw new SallyportError('AUTH_MISSING', 'No gateway token came with this call.');
  }
  const token = readToken(text);
  const seal = sealText === null ? null : readSeal(sealText);
  try {
    const providerKey = providerKeyText === null ? null : readProviderKey(providerKeyText);
    return { token, text, query: cut.query, seal, providerKey };
  } catch (error) {
    wipe(seal);
    throw error;
  }
}

function bearerOf(value: string): string {
  // What an SDK sends whose key is an unset variable.
  if (/^(?:bearer)?$/i.test(value)) return '';
  const match = /^bearer +(\S+)$/i.exec(value);
  if (match === null)
    throw new SallyportError('AUTH_INVALID', 'The authorization header is not `Bearer spt_…`.');
  return match[1] as string;
}

function readToken(text: string): ParsedToken {
  const token = parseToken(text);
  if (token === null) {
    const reason = /^(sk-|gsk_|xai-|AIza)/.test(text)
      ? 'That looks like a provider key. Calls through Sallyport carry a gateway token (spt_…); the provider key is stored once and stays in the vault.'
      : 'The token is not well-formed: a gateway token is spt_ and 61 characters.';
    throw new SallyportError('AUTH_INVALID', reason);
  }
  if (token.kind === 'spa') {
    throw new SallyportError(
      'AUTH_INVALID',
      'That is an admin token (spa_…): it belongs to /api. Model calls take a gateway token (spt_…).',
    );
  }
  return token;
}

function readSeal(text: string): Buffer {
  const seal = parseSealSecret(text);
  if (seal !== null) return seal;
  throw new SallyportError(
    'SEAL_WRONG',
    'The seal is not well-formed: a seal’s secret is sps_ and 49 characters, after the token and a dot or in x-sallyport-seal.',
    { fix: 'Copy it again, whole.' },
  );
}

/** An empty header counts: who meant to pay with his own key must not be charged for a stored one. */
function readProviderKey(text: string): Buffer {
  const key = secretBuffer(Buffer.byteLength(text));
  try {
    key.write(text);
    checkSecret(key);
    return key;
  } catch (error) {
    wipe(key);
    throw error;
  }
}

/**
 * Takes `key=` out of a query, however its name is written: what stays would be a second credential beside the stored key, or the
 * token itself. The other bytes stay as they are.
 */
function takeKeyParameter(query: string): { key: string | null; query: string } {
  if (!/[?&](?:k|%6b)/i.test(query)) return { key: null, query };
  const kept: string[] = [];
  let key: string | null = null;
  for (const part of query.slice(1).split('&')) {
    const equals = part.indexOf('=');
    const name = equals < 0 ? part : part.slice(0, equals);
    if (decodeURIComponentOrNull(name) !== 'key') {
      kept.push(part);
      continue;
    }
    const value = decodeURIComponentOrNull(equals < 0 ? '' : part.slice(equals + 1));
    if (value === null || (key !== null && key !== value)) {
      throw new SallyportError(
        'REQUEST_INVALID',
        'The query parameter key came twice or is not well-formed.',
      );
    }
    key = value;
  }
  return { key, query: kept.length === 0 ? '' : `?${kept.join('&')}` };
}

function decodeURIComponentOrNull(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
