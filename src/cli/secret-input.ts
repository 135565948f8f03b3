import { SallyportError } from '../errors.ts';
import { secretBuffer, secretCopy, wipe } from '../secret.ts';
import type { Terminal } from './command.ts';
import { readKeyPresses } from './key-presses.ts';

/** Twice the longest key that the vault takes (8192), so that the gateway's own refusal is what a user sees. */
const maxBytes = 16_384;

/**
 * A secret from standard input: on a terminal asked for and not shown, else read to its end. Line breaks and blanks around it are
 * cut off. It is bytes of its own all the way, never a string; the caller wipes them.
 *
 * @param what names it in a refusal.
 * @throws {SallyportError} REQUEST_INVALID: nothing, or too much, or given up with Ctrl-C.
 */
export async function readSecret(terminal: Terminal, prompt: string, what = 'key'): Promise<Buffer> {
  const room = secretBuffer(maxBytes);
  try {
    const length =
      terminal.input.isTTY === true ? await ask(terminal, prompt, room) : await drain(terminal, room);
    const secret = trimmed(room.subarray(0, length));
    if (secret === null) throw refusal(`Standard input holds no ${what}.`);
    return secret;
  } finally {
    wipe(room);
  }
}

/** The same on a terminal, where nothing is an answer too; null for that, and where there is no terminal. */
export async function askSecret(terminal: Terminal, prompt: string): Promise<Buffer | null> {
  if (terminal.input.isTTY !== true) return null;
  const room = secretBuffer(maxBytes);
  try {
    return trimmed(room.subarray(0, await ask(terminal, prompt, room)));
  } finally {
    wipe(room);
  }
}

/**
 * Several secrets: asked for one after the other, else a line each.
 *
 * @throws {SallyportError} REQUEST_INVALID: not so many.
 */
export async function readSecrets(
  terminal: Terminal,
  prompts: readonly string[],
  what: string,
): Promise<readonly Buffer[]> {
  const secrets: Buffer[] = [];
  const room = secretBuffer(maxBytes);
  try {
    if (terminal.input.isTTY === true) {
      for (const prompt of prompts) secrets.push(await readSecret(terminal, prompt, what));
      return secrets;
    }
    let rest = room.subarray(0, await drain(terminal, room));
    while (rest.length > 0) {
      const end = rest.indexOf(0x0a);
      const line = trimmed(end < 0 ? rest : rest.subarray(0, end));
      if (line !== null) secrets.push(line);
      rest = end < 0 ? rest.subarray(rest.length) : rest.subarray(end + 1);
    }
    if (secrets.length !== prompts.length)
      throw refusal(`Standard input has to hold ${prompts.length} lines, a ${what} each.`);
    return secrets;
  } catch (error) {
    wipe(...secrets);
    throw error;
  } finally {
    wipe(room);
  }
}

/** In memory of its own; null for nothing but blanks. */
function trimmed(room: Buffer): Buffer | null {
  let [start, end] = [0, room.length];
  while (start < end && isBlank(room[start])) start += 1;
  while (end > start && isBlank(room[end - 1])) end -= 1;
  return start === end ? null : secretCopy(room.subarray(start, end));
}

async function drain({ input }: Terminal, room: Buffer): Promise<number> {
  let length = 0;
  for await (const chunk of input as AsyncIterable<Buffer | string>) {
    if (typeof chunk === 'string') throw new TypeError('standard input must be bytes');
    if (length + chunk.length > room.length) {
      wipe(chunk);
      throw refusal(`Standard input holds more than ${maxBytes} bytes, which is no key.`);
    }
    room.set(chunk, length);
    length += chunk.length;
    wipe(chunk);
  }
  return length;
}

/** The length of what was typed into `room`. */
function ask(terminal: Terminal, prompt: string, room: Buffer): Promise<number> {
  return readKeyPresses(terminal, prompt, room, {
    isShown: false,
    givenUp: () => refusal('Given up; nothing was stored.'),
    tooMuch: () => refusal(`More than ${maxBytes} bytes, which is no key.`),
  });
}

function isBlank(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function refusal(message: string): SallyportError {
  return new SallyportError('REQUEST_INVALID', message, {
    fix: 'Pipe it in, or run this on a terminal and paste it when asked.',
  });
}
