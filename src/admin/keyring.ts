import { readNodes, type NodeBeat } from '../db/node-beat.ts';
import type { Store } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { canaryContext } from '../vault/context.ts';
import { KekError } from '../vault/kek-provider.ts';
import { kmsKeyId, readKmsPlace, readTransitPlace, transitKeyId } from '../vault/kek-place.ts';
import type { KeyringHome } from '../vault/keyring-home.ts';
import { surveyRootKeys, useOf } from '../vault/keyring-survey.ts';
import { inState, newLocalKey, type RingKey } from '../vault/keyring-text.ts';
import type { RootKey } from '../vault/keyring.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { viewKeyring, type KeyringView } from './keyring-view.ts';
import { demandOperator } from './permissions.ts';
import type { RewrapJob } from './rewrap-job.ts';

export interface KeyringDeps {
  readonly store: Pick<Store, 'asSystem'>;
  readonly home: KeyringHome;
  readonly deploymentId: string;
  readonly act: Act;
  readonly beat: Pick<NodeBeat, 'now'>;
  readonly job: RewrapJob;
}

export interface Stage {
  readonly transit?: { address: string; mount: string; key: string; namespace?: string } | undefined;
  readonly kms?: { region: string; keyId: string; endpoint?: string } | undefined;
}

export type Keyring = ReturnType<typeof createKeyring>;

const notHis = 'Only the operator handles root keys.';

/**
 * Root keys, for the operator alone: `stage` a new one, `promote` it once every running node has it, `rewrap` what is under the others,
 * `retire` what nothing uses any more. Each step is refused where the next one would lose something.
 */
export function createKeyring({ store, home, deploymentId, act, beat, job }: KeyringDeps) {
  const { ring } = home;

  /** What has to be refused is refused before the act is on record; the file is the last thing that is written within it. */
  async function edit(
    caller: Caller,
    event: string,
    rootKeyId: string,
    {
      seen,
      change,
    }: { readonly seen: string; readonly change: (keys: readonly RingKey[]) => readonly RingKey[] },
  ): Promise<KeyringView> {
    await act(caller, event, { rootKeyId }, () =>
      home.edit((keys) => {
        if (statesOf(keys) !== seen) {
          throw new SallyportError('CONFLICT', 'Somebody else has edited the keyring at the same time.', {
            fix: 'bin/sallyport keyring status shows how it stands now.',
          });
        }
        return change(keys);
      }),
    );
    await beat.now();
    return status(caller);
  }

  function demandEditable(what: string): void {
    if (home.source === 'file') return;
    throw new SallyportError(
      'CONFLICT',
      `This ring comes from SALLYPORT_KEYRING, which the gateway cannot write: ${what}`,
      {
        fix: 'docs/root-keys.md shows the steps for a ring in the environment; status and rewrap work as with a file.',
      },
    );
  }

  async function status(caller: Caller): Promise<KeyringView> {
    demandOperator(caller, notHis);
    const problem = await refreshed(home);
    return viewKeyring({
      home,
      problem,
      nodes: await readNodes(store),
      uses: await surveyRootKeys({ store, ring, deploymentId }).catch(notNow),
      rewrap: job.state(),
    });
  }

  return Object.freeze({
    /** Also takes over a file that was changed. @throws {SallyportError} FORBIDDEN */
    status,

    /** A new local key, or one in a key service, which is tried first. @throws {SallyportError} FORBIDDEN, CONFLICT, REQUEST_INVALID, VAULT_SEALED */
    async stage(caller: Caller, wanted: Stage): Promise<KeyringView> {
      demandOperator(caller, notHis);
      demandEditable('put the new key into it with the state staged.');
      await home.refresh();
      const seen = statesOf(ring.list());
      const staged = ring.list().find(({ state }) => state === 'staged');
      if (staged !== undefined) {
        throw new SallyportError(
          'CONFLICT',
          `${staged.id} is staged already, and promote would not know which is meant.`,
          {
            fix: `Promote it, or retire it: bin/sallyport keyring retire ${staged.id}`,
          },
        );
      }
      const key = newKey(wanted);
      const known = ring.get(key.id);
      if (known !== null) {
        throw new SallyportError('CONFLICT', `${key.id} is in the ring already (${known.state}).`, {
          fix: 'bin/sallyport keyring status shows every key and its state.',
        });
      }
      await home.prove(key, canaryContext(deploymentId)).catch(notNow);
      return edit(caller, 'keyring.stage', key.id, { seen, change: (keys) => [...keys, key] });
    },

    /**
     * The staged key, or one that was active before, becomes the active one; the active one opens on.
     *
     * @throws {SallyportError} FORBIDDEN, NOT_FOUND, CONFLICT: a running node lacks the key, or an older process that does not say so runs.
     */
    async promote(caller: Caller, wanted: { readonly rootKeyId?: string | undefined }): Promise<KeyringView> {
      demandOperator(caller, notHis);
      demandEditable('set the staged key’s state to active, the active one’s to decrypt_only, and restart.');
      await home.refresh();
      const seen = statesOf(ring.list());
      const id = wanted.rootKeyId ?? ring.list().find(({ state }) => state === 'staged')?.id;
      if (id === undefined) {
        throw new SallyportError('CONFLICT', 'No root key is staged.', {
          fix: 'bin/sallyport keyring stage',
        });
      }
      const key = known(id);
      if (key.state !== 'staged' && key.state !== 'decrypt_only')
        throw new SallyportError(
          'CONFLICT',
          `${id} is ${key.state}: only a staged or an earlier key is promoted.`,
        );
      const without = (await readNodes(store)).filter((node) => node.isLive && !node.rootKeys.includes(id));
      if (without.length > 0) {
        throw new SallyportError(
          'CONFLICT',
          `Running nodes cannot open with ${id} yet: ${without.map(({ nodeId }) => nodeId).join(', ')}.`,
          {
            fix: 'Bring the keyring file to these nodes, mode 600; they take it over within seconds, and workers of this one by themselves: repeat it.',
          },
        );
      }
      await ring.selfTest(id, canaryContext(deploymentId)).catch(notNow);
      return edit(caller, 'keyring.promote', id, {
        seen,
        change: (keys) =>
          keys.map((entry) => {
            if (entry.id === id) return inState(entry, 'active');
            return entry.state === 'active' ? inState(entry, 'decrypt_only') : entry;
          }),
      });
    },

    /** Starts sealing everything anew under the active key, or says how far it is. @throws {SallyportError} FORBIDDEN */
    async rewrap(caller: Caller): Promise<KeyringView> {
      demandOperator(caller, notHis);
      await home.refresh();
      if (!job.isRunning()) {
        const rootKeyId = ring.active().id;
        await act(caller, 'keyring.rewrap', { rootKeyId }, async () => job.start());
      }
      return status(caller);
    },

    /**
     * Drops a key's bytes for good.
     *
     * @throws {SallyportError} FORBIDDEN, NOT_FOUND, CONFLICT: something is under it, or a running node seals under it.
     */
    async retire(caller: Caller, { rootKeyId: id }: { readonly rootKeyId: string }): Promise<KeyringView> {
      demandOperator(caller, notHis);
      demandEditable('take a key out of it once status shows that nothing uses it.');
      await home.refresh();
      const seen = statesOf(ring.list());
      const key = known(id);
      if (key.state === 'active') {
        throw new SallyportError('CONFLICT', `${id} is the active key.`, {
          fix: 'Stage and promote another one first: bin/sallyport keyring stage',
        });
      }
      const holders = (await readNodes(store)).filter((node) => node.isLive && node.activeRootKey === id);
      if (holders.length > 0) {
        throw new SallyportError(
          'CONFLICT',
          `Running nodes seal under ${id}: ${holders.map(({ nodeId }) => nodeId).join(', ')}.`,
          { fix: 'Bring the keyring file to these nodes, then run bin/sallyport keyring rewrap once more.' },
        );
      }
      const use = useOf(
        await surveyRootKeys({ store, ring, deploymentId }, { isExact: true }).catch(notNow),
        id,
      );
      if (use.workspaceKeys + use.intakeKeys + use.signingKeys > 0 || use.canary) {
        throw new SallyportError(
          'CONFLICT',
          `${id} still opens ${use.workspaceKeys} workspace keys, ${use.intakeKeys} intake keys, ${use.signingKeys} signing keys and ${use.canary ? 'the' : 'no'} canary.`,
          { fix: 'bin/sallyport keyring rewrap' },
        );
      }
      if (key.state === 'retired') return status(caller);
      return edit(caller, 'keyring.retire', id, {
        seen,
        change: (keys) => keys.map((entry) => (entry.id === id ? inState(entry, 'retired') : entry)),
      });
    },
  });

  function known(id: string): RootKey {
    const key = ring.get(id);
    if (key !== null) return key;
    throw new SallyportError('NOT_FOUND', 'There is no such root key in the ring.', {
      fix: 'bin/sallyport keyring status lists them.',
    });
  }
}

/** What a step was checked against: it must be the same still when the file is written. */
function statesOf(keys: readonly { readonly id: string; readonly state: string }[]): string {
  return keys.map(({ id, state }) => `${id} ${state}`).join('\n');
}

function newKey({ transit, kms }: Stage): RingKey {
  if (transit !== undefined && kms !== undefined)
    throw new SallyportError('REQUEST_INVALID', 'A root key is in one place: transit or kms.');
  if (transit !== undefined) {
    const place = readTransitPlace(transit);
    if (typeof place === 'string') throw new SallyportError('REQUEST_INVALID', `This cannot be: ${place}.`);
    return { id: transitKeyId(place), state: 'staged', transit: place };
  }
  if (kms !== undefined) {
    const place = readKmsPlace(kms);
    if (typeof place === 'string') throw new SallyportError('REQUEST_INVALID', `This cannot be: ${place}.`);
    return { id: kmsKeyId(place), state: 'staged', kms: place };
  }
  return newLocalKey('staged');
}

/** The file may be bad while the ring in memory is well: the operator is told, and goes on. */
async function refreshed(home: KeyringHome): Promise<string | null> {
  return home.refresh().then(
    () => null,
    (error: unknown) => {
      if (error instanceof SallyportError) return error.message;
      throw error;
    },
  );
}

function notNow(error: unknown): never {
  if (!(error instanceof KekError)) throw error;
  throw new SallyportError('VAULT_SEALED', `${error.message} (${error.code})`, {
    fix: 'See docs/root-keys.md for what the key service has to allow; nothing was changed.',
    retryAfter: Math.ceil((error.retryAfterMs ?? 1000) / 1000),
    cause: error,
  });
}
