import { SallyportError } from '../errors.ts';
import { editKeyringFile, keyringFileStamp, readKeyringFile } from './keyring-file.ts';
import type { KekRing } from './keyring.ts';
import type { RingKey } from './keyring-text.ts';

/** A ring and where its text is kept: a file that we may write, or the environment, where only its owner can. */
export interface KeyringHome {
  readonly ring: KekRing;
  readonly source: 'file' | 'environment';
  /**
   * Takes over a file that was written anew, by us or by whoever distributes it.
   *
   * @returns whether the ring is another one now.
   * @throws {SallyportError} CONFIG_INVALID: the file is no ring, or lacks a root key that is in use; the ring stays as it was.
   */
  refresh(): Promise<boolean>;
  /** Tries a key that is not in the ring yet (KekProvider.selfTest). @throws {KekError} */
  prove(key: RingKey, context: Uint8Array): Promise<void>;
  /** @throws {SallyportError} CONFLICT: the ring comes from the environment, or is being edited. CONFIG_INVALID. */
  edit(change: (keys: readonly RingKey[]) => readonly RingKey[]): Promise<void>;
}

export function createKeyringHome(deps: {
  readonly ring: KekRing;
  /** Null: the environment. */
  readonly file: string | null;
  /** Which of these root keys does the database need? Rejects when it cannot be asked. */
  readonly inUse: (ids: readonly string[]) => Promise<readonly string[]>;
  readonly prove: KeyringHome['prove'];
}): KeyringHome {
  const { ring, file, inUse, prove } = deps;
  let stamp: string | null = null;
  let queue: Promise<unknown> = Promise.resolve();

  /** One after the other: a refresh must not see the ring of an edit that is half done. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = queue.then(work, work);
    queue = turn.catch(() => {});
    return turn;
  }

  async function takeOver(path: string): Promise<boolean> {
    const now = await keyringFileStamp(path);
    if (now !== null && now === stamp) return false;
    const keys = await readKeyringFile(path);
    const opens = new Set(keys.filter(({ state }) => state !== 'retired').map(({ id }) => id));
    const gone = usable(ring).filter((id) => !opens.has(id));
    const missed = gone.length === 0 ? [] : await inUse(gone);
    if (missed.length > 0) {
      throw new SallyportError(
        'CONFIG_INVALID',
        `The keyring (${path}) lacks root keys that are in use: ${missed.join(', ')}. The ring in memory stays as it was.`,
        { fix: 'Bring back the file that holds them, or run bin/sallyport keyring rewrap first.' },
      );
    }
    ring.replace(keys);
    stamp = now;
    return true;
  }

  return Object.freeze<KeyringHome>({
    ring,
    source: file === null ? 'environment' : 'file',
    refresh: () => (file === null ? Promise.resolve(false) : inTurn(() => takeOver(file))),
    prove,
    edit(change) {
      if (file === null) {
        return Promise.reject(
          new SallyportError(
            'CONFLICT',
            'This ring comes from SALLYPORT_KEYRING, which the gateway cannot write.',
            {
              fix: 'Edit the ring where it is kept, then restart the nodes one by one: docs/root-keys.md says which states to set, step by step.',
            },
          ),
        );
      }
      return inTurn(async () => {
        await takeOver(file);
        const written = await editKeyringFile(file, change);
        ring.replace(written.keys);
        stamp = written.stamp;
      });
    },
  });
}

function usable(ring: KekRing): string[] {
  return ring
    .list()
    .filter(({ state }) => state !== 'retired')
    .map(({ id }) => id);
}
