import type { Context } from './command.ts';
import { usageError } from './failure.ts';
import { readKeyPresses } from './key-presses.ts';
import { printable } from './text-table.ts';

/** Of every command that takes something away for good. */
export const confirmOption = {
  yes: { value: null, doc: 'without asking; where standard input is no terminal nothing is asked' },
} as const;

/**
 * Asks whoever sits at a terminal before something is lost. A script has decided before, and goes on as if it had said --yes.
 *
 * @param whatIsLost a sentence that names it, from texts of strangers too; null: there is nothing to lose, or only to be refused. It is
 * not called where nothing is asked.
 * @throws {SallyportError} REQUEST_INVALID: not answered with yes, and nothing was done.
 */
export async function confirm(context: Context, whatIsLost: () => Promise<string | null>): Promise<void> {
  const { terminal } = context;
  if (terminal.input.isTTY !== true || context.has('yes')) return;
  const lost = await whatIsLost();
  if (lost === null) return;
  const room = Buffer.alloc(16);
  const length = await readKeyPresses(terminal, `${printable(lost)}\nGo on? (yes or no) `, room, {
    isShown: true,
    givenUp: notDone,
    tooMuch: notDone,
  });
  if (!/^y(?:es)?$/i.test(room.toString('latin1', 0, length).trim())) throw notDone();
}

function notDone() {
  return usageError('Nothing was done.', 'Answer yes, or give --yes.');
}
