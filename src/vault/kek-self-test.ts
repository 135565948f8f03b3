import { randomFillSync } from 'node:crypto';
import { secretBuffer, wipe } from '../secret.ts';
import { encodeContext } from './context.ts';
import { KekError, type KekProvider } from './kek-provider.ts';
import { kinds, VaultError } from './record.ts';

/**
 * Does the root key wrap and open, and is a record's place bound to it? A Transit engine from before `associated_data` ignores it without
 * a word, and records could then be moved from one workspace to another.
 */
export async function proveKek(
  provider: Pick<KekProvider, 'wrap' | 'unwrap'>,
  id: string,
  context: Uint8Array,
): Promise<void> {
  const bytes = randomFillSync(secretBuffer(32));
  let opened: Buffer | null = null;
  let elsewhere: Buffer | null = null;
  try {
    const blob = await provider.wrap(id, kinds.canary, context, bytes);
    opened = await provider.unwrap(id, kinds.canary, context, blob);
    if (!opened.equals(bytes)) throw new KekError('wrong_key', `Root key ${id} gives back other bytes.`);
    elsewhere = await provider
      .unwrap(id, kinds.canary, encodeContext(['canary', 'elsewhere']), blob)
      .catch((error: unknown) => {
        // A policy may deny every place but ours: no less of a proof.
        if (error instanceof VaultError || (error instanceof KekError && error.code === 'denied'))
          return null;
        throw error;
      });
    if (elsewhere !== null) {
      throw new KekError(
        'wrong_key',
        `Root key ${id} does not bind a record to its place: its service ignores the context.`,
      );
    }
  } finally {
    wipe(bytes, opened, elsewhere);
  }
}
