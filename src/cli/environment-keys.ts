import { closeSync, readSync } from 'node:fs';
import { secretBuffer, secretCopy, wipe } from '../secret.ts';
import { usageError } from './failure.ts';

/** A provider key that stood in the environment; `secret` is the reader's to wipe. */
export interface EnvironmentKey {
  readonly variable: string;
  readonly provider: string;
  readonly secret: Buffer;
}

const providerOf: Readonly<Record<string, string>> = {
  OPENAI_API_KEY: 'openai',
  ANTHROPIC_API_KEY: 'anthropic',
  GEMINI_API_KEY: 'google',
  GOOGLE_API_KEY: 'google',
  GROQ_API_KEY: 'groq',
  XAI_API_KEY: 'xai',
};
/** Of these bin/sallyport takes the environment clean. */
export const variables: readonly string[] = Object.keys(providerOf);
/** Six keys of at most 8 KiB and their names. */
const maxBytes = 64 * 1024;

/**
 * Reads what bin/sallyport hands over: `NAME=value` and a NUL byte each. One key a provider: the first counts, so GEMINI_API_KEY before
 * GOOGLE_API_KEY. A value is never a string here.
 */
export function readEnvironmentKeys(fd: number): EnvironmentKey[] {
  const bytes = secretBuffer(maxBytes);
  let length = 0;
  try {
    for (;;) {
      const read = readSync(fd, bytes, length, maxBytes - length, null);
      length += read;
      if (read === 0 || length === maxBytes) break;
    }
    return parseEnvironmentKeys(bytes.subarray(0, length));
  } finally {
    wipe(bytes);
    closeSync(fd);
  }
}

/** The descriptor that `--keys-fd` names, or null. @throws {SallyportError} REQUEST_INVALID */
export function keysFd(text: string | null): number | null {
  if (text === null) return null;
  if (/^[3-9]$/.test(text)) return Number(text);
  throw usageError('--keys-fd must be a descriptor from 3 to 9.', 'Leave it to bin/sallyport.');
}

export function parseEnvironmentKeys(bytes: Buffer): EnvironmentKey[] {
  const keys: EnvironmentKey[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf(0, at);
    const equals = bytes.indexOf(0x3d, at);
    if (end < 0 || equals < 0 || equals > end) break;
    const variable = bytes.toString('latin1', at, equals);
    const provider = providerOf[variable];
    const isFirst = !keys.some((key) => key.provider === provider);
    if (provider !== undefined && isFirst && end > equals + 1) {
      keys.push({ variable, provider, secret: secretCopy(bytes.subarray(equals + 1, end)) });
    }
    at = end + 1;
  }
  return keys;
}
