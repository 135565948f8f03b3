import { wipe } from '../secret.ts';
import type { Terminal } from './command.ts';

/**
 * Asks on a terminal and reads key presses until Enter; Backspace and Ctrl-U mend, Ctrl-C and Ctrl-D give up. The terminal is in raw mode
 * meanwhile, so that Ctrl-C comes here and what the command has opened is closed.
 *
 * @param room where the bytes go; what is read is kept nowhere else.
 * @returns how many.
 * @throws what `how` makes of giving up, and of more than `room` holds.
 */
export async function readKeyPresses(
  { input, error }: Terminal,
  prompt: string,
  room: Buffer,
  how: { readonly isShown: boolean; readonly givenUp: () => Error; readonly tooMuch: () => Error },
): Promise<number> {
  error.write(prompt);
  input.setRawMode?.(true);
  const done = Promise.withResolvers<number>();
  let length = 0;
  const show = (text: string) => void (how.isShown && error.write(text));
  const cut = (left: number) => {
    show('\b \b'.repeat(length - left));
    length = left;
  };
  const onData = (chunk: Buffer) => {
    for (const byte of chunk) {
      if (byte === 0x0d || byte === 0x0a) done.resolve(length);
      else if (byte === 0x03 || byte === 0x04) done.reject(how.givenUp());
      else if (byte === 0x15) cut(0);
      else if (byte === 0x7f || byte === 0x08) cut(Math.max(0, length - 1));
      else if (length === room.length) done.reject(how.tooMuch());
      else {
        room[length++] = byte;
        show(byte > 0x1f && byte < 0x7f ? String.fromCharCode(byte) : '?');
      }
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
