import { setTimeout as sleep } from 'node:timers/promises';
import type { Api } from './api.ts';
import type { Command, Context } from './command.ts';
import { confirm, confirmOption } from './confirmation.ts';
import { exits, usageError } from './failure.ts';
import { given } from './people.ts';
import { textTable } from './text-table.ts';

interface Keyring {
  readonly source: string;
  readonly problem: string | null;
  readonly activeRootKey: string;
  readonly keys: readonly {
    readonly id: string;
    readonly state: string;
    readonly scheme: string | null;
    readonly place: string | null;
    readonly workspaceKeys: number;
    readonly intakeKeys: number;
    readonly signingKeys: number;
    readonly canary: boolean;
  }[];
  readonly nodes: readonly {
    readonly nodeId: string;
    readonly beatAt: string;
    readonly isLive: boolean;
    readonly rootKeys: readonly string[];
    readonly activeRootKey: string | null;
  }[];
  readonly rewrap: {
    readonly status: string;
    readonly remaining: number;
    readonly rewrapped: number;
    readonly failed: number;
    readonly message: string | null;
  };
}

/** Between two looks at a run. */
const lookMs = 500;

const status: Command = {
  words: 'keyring status',
  doc: 'Show the root keys, what is under each, and what each node has.',
  options: {},
  async run(context) {
    const api = await context.api();
    return show(context, await api.call<Keyring>('GET', '/api/keyring'), '');
  },
};

const stage: Command = {
  words: 'keyring stage',
  doc: 'Add a new root key, not used yet: of this keyring, or one in a key service.',
  options: {
    transit: { value: 'MOUNT/KEY', doc: 'in a Transit engine of HashiCorp Vault or OpenBao, with --address' },
    address: { value: 'URL', doc: 'of the Transit engine’s server' },
    namespace: { value: 'PATH', doc: 'of the Transit engine' },
    kms: { value: 'KEY', doc: 'in AWS KMS: key id or ARN, with --region' },
    region: { value: 'NAME', doc: 'of the KMS key, such as eu-central-1' },
    endpoint: { value: 'URL', doc: 'of KMS, where it is not Amazon’s own' },
  },
  async run(context) {
    const body = { ...given('transit', transitOf(context)), ...given('kms', kmsOf(context)) };
    const api = await context.api();
    const ring = await api.call<Keyring>('POST', '/api/keyring/stage', body);
    return show(context, ring, 'Staged. When every node has it: bin/sallyport keyring promote\n\n');
  },
};

const promote: Command = {
  words: 'keyring promote',
  doc: 'Make the staged root key the active one; the one before opens on.',
  options: { 'root-key': { value: 'ID', doc: 'which one, where it is not the staged one' } },
  async run(context) {
    const api = await context.api();
    const ring = await api.call<Keyring>('POST', '/api/keyring/promote', {
      ...given('rootKeyId', context.text('root-key')),
    });
    return show(context, ring, 'Promoted. Now seal everything under it: bin/sallyport keyring rewrap\n\n');
  },
};

const rewrap: Command = {
  words: 'keyring rewrap',
  doc: 'Seal everything anew under the active root key; waits until it is done.',
  options: {},
  async run(context) {
    const api = await context.api();
    let ring = await api.call<Keyring>('POST', '/api/keyring/rewrap', {});
    while (ring.rewrap.status === 'running') {
      if (!context.isJson) context.terminal.error.write(`\r${counts(ring)} `);
      await sleep(lookMs);
      ring = await api.call<Keyring>('GET', '/api/keyring');
    }
    if (!context.isJson) context.terminal.error.write('\r');
    const isDone = ring.rewrap.status === 'done';
    show(context, ring, `${counts(ring)}. ${isDone ? 'Done.' : (ring.rewrap.message ?? 'Not done.')}\n\n`);
    return isDone ? exits.ok : exits.refused;
  },
};

const retire: Command = {
  words: 'keyring retire',
  doc: 'Delete a root key that nothing uses any more; backups under it open never again.',
  argument: 'ID',
  options: confirmOption,
  async run(context) {
    const api: Api = await context.api();
    await confirm(context, async () => {
      const { keys } = await api.call<Keyring>('GET', '/api/keyring');
      const key = keys.find(({ id }) => id === context.argument);
      if (key === undefined) return null;
      return `This deletes the root key ${key.id} (${key.state}, ${key.place ?? key.scheme ?? 'in the keyring'}) for good: backups under it open never again.`;
    });
    const ring = await api.call<Keyring>('POST', '/api/keyring/retire', { rootKeyId: context.argument });
    return show(context, ring, `Retired ${context.argument}; its bytes are gone from the keyring.\n\n`);
  },
};

export const keyringCommands: readonly Command[] = [status, stage, promote, rewrap, retire];

function show(context: Context, ring: Keyring, head: string): number {
  const keys = ring.keys.map((key) => [
    key.id,
    key.state,
    key.place ?? key.scheme,
    key.workspaceKeys,
    key.intakeKeys,
    key.signingKeys,
    key.canary ? 'canary' : null,
  ]);
  const nodes = ring.nodes.map((node) => [
    node.nodeId,
    node.isLive ? 'live' : 'gone',
    node.beatAt,
    node.activeRootKey,
    node.rootKeys.join(' '),
  ]);
  const parts = [
    head,
    textTable(['ROOT KEY', 'STATE', 'IN', 'WORKSPACE KEYS', 'INTAKE KEYS', 'SIGNING KEYS', ''], keys),
    nodes.length === 0 ? '' : `\n${textTable(['NODE', '', 'LAST BEAT', 'ACTIVE', 'HAS'], nodes)}`,
    ring.problem === null ? '' : `\n${ring.problem}\n`,
  ];
  context.print(ring, parts.join(''));
  return exits.ok;
}

function counts({ rewrap }: Keyring): string {
  const failed = rewrap.failed === 0 ? '' : `, ${rewrap.failed} that do not open`;
  return `${rewrap.rewrapped.toLocaleString('en-US')} sealed anew, ${rewrap.remaining.toLocaleString('en-US')} to go${failed}`;
}

function transitOf(context: Context) {
  const text = context.text('transit');
  if (text === null) return null;
  const at = text.lastIndexOf('/');
  const address = context.text('address');
  if (at < 1 || address === null) {
    throw usageError(
      'A Transit key is --transit MOUNT/KEY with --address URL.',
      'bin/sallyport keyring stage --transit transit/sallyport --address https://vault.internal:8200',
    );
  }
  return {
    address,
    mount: text.slice(0, at),
    key: text.slice(at + 1),
    ...given('namespace', context.text('namespace')),
  };
}

function kmsOf(context: Context) {
  const keyId = context.text('kms');
  if (keyId === null) return null;
  const region = context.text('region');
  if (region === null) throw usageError('A KMS key needs --region NAME.', 'Such as --region eu-central-1.');
  return { region, keyId, ...given('endpoint', context.text('endpoint')) };
}
