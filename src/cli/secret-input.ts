import { SallyportError } from '../errors.ts';
import { secretBuffer, secretCopy, wipe } from '../secret.ts';
import type { Terminal } from './command.ts';

/** Twice the longest key that the vault takes (8192), so that the gateway's own refusal is what a user sees. */
const maxBytes = 16_384;

/**
 * A secret from standard input: on a terminal asked for and not shown, else read to its end. Line breaks and blanks around it are
 * cut off. It is bytes of its own all the way, never a string; the caller wipes them.
 *
 * @throws {SallyportError} REQUEST_INVALID: nothing, or too much, or given up with Ctrl-C.
 */
export async function readSecret(terminal: Terminal, prompt: string): Promise<Buffer> {
  const room = secretBuffer(maxBytes);
  try {
    const length =
      terminal.input.isTTY === true ? await ask(terminal, prompt, room) : await drain(terminal, room);
    let [start, end] = [0, length];
    while (start < end && isBlank(room[start])) start += 1;
    while (end > start && isBlank(room[end - 1])) end -= 1;
    if (start === end) throw refusal('Standard input holds no key.');
    return secretCopy(room.subarray(start, end));
  } finally {
    wipe(room);
  }
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

/** Reads key presses until Enter, without showing them; Backspace and Ctrl-U mend, Ctrl-C and Ctrl-D give up. */
async function ask({ input, error }: Terminal, prompt: string, room: Buffer): Promise<number> {
  error.write(prompt);
  input.setRawMode?.(true);
  const done = Promise.withResolvers<number>();
  let length = 0;
  const onData = (chunk: Buffer) => {
    for (const byte of chunk) {
      if (byte === 0x0d || byte === 0x0a) done.resolve(length);
      else if (byte === 0x03 || byte === 0x04) done.reject(refusal('Given up; nothing was stored.'));
      else if (byte === 0x15) length = 0;
      else if (byte === 0x7f || byte === 0x08) length = Math.max(0, length - 1);
      else if (length === room.length) done.reject(refusal(`More than ${maxBytes} bytes, which is no key.`));
      else room[length++] = byte;
    }
    wipe(chunk);
  };
  const onEnd = () => done.resolve(length);
  input.on('data', onData).on('end', onEnd).resume();
  try {
    return await done.promise;
  } finally {
    input.off('data', onData).off('end', onEnd).pause();
    input.setRawMode?.(false);
    error.write('\n');
  }
}

function isBlank(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function refusal(message: string): SallyportError {
  return new SallyportError('REQUEST_INVALID', message, {
    fix: 'Pipe the key in, or run this on a terminal and paste it when asked.',
  });
}
