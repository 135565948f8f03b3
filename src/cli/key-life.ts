import { wipe } from '../secret.ts';
import type { Api } from './api.ts';
import type { Command, Context } from './command.ts';
import { type EnvironmentKey, keysFd, readEnvironmentKeys, variables } from './environment-keys.ts';
import { exits, failureOf, usageError } from './failure.ts';
import { intakeContent } from './key-content.ts';
import { idOf } from './named-id.ts';
import { userId } from './people.ts';
import { readSecret } from './secret-input.ts';
import { textTable } from './text-table.ts';

interface Key {
  readonly id: string;
  readonly name: string;
  readonly provider: string;
  readonly userId: string;
  readonly status: string;
  readonly source: string;
  readonly sharedWith: 'workspace' | readonly string[] | null;
}

interface Finding {
  readonly fingerprint: string;
  readonly keys: readonly Key[];
  readonly uses: readonly {
    readonly keyId: string | null;
    readonly keySource: string | null;
    readonly tokenId: string | null;
    readonly provider: string;
    readonly calls: number;
    readonly firstUsedAt: string;
    readonly lastUsedAt: string;
  }[];
}

const find: Command = {
  words: 'keys find',
  doc: 'Say where a (leaked) key is stored and what used it; its value is asked for, or read from standard input.',
  options: { fingerprint: { value: 'HEX', doc: 'look for this fingerprint instead of a value' } },
  async run(context) {
    const fingerprint = context.text('fingerprint');
    if (fingerprint !== null && !/^[0-9a-f]{16}$/.test(fingerprint))
      throw usageError('--fingerprint must be 16 hex digits.', 'bin/sallyport keys list --json shows them.');
    const found =
      fingerprint === null
        ? await withSecret(context, 'Paste the key to look for (it is not shown): ', findValue)
        : await (await context.api()).call<Finding>('POST', '/api/api-keys/find', { fingerprint });
    context.print(found, findingText(found));
    return exits.ok;
  },
};

function findingText({ fingerprint, keys, uses }: Finding): string {
  const stored =
    keys.length === 0
      ? 'Stored nowhere that you see.\n'
      : textTable(
          ['ID', 'NAME', 'PROVIDER', 'SOURCE', 'STATUS'],
          keys.map((key) => [key.id, key.name, key.provider, key.source, key.status]),
        );
  const used =
    uses.length === 0
      ? 'Used by nothing that you see.\n'
      : textTable(
          ['KEY', 'SOURCE', 'TOKEN', 'PROVIDER', 'CALLS', 'FIRST', 'LAST'],
          uses.map((use) => [
            use.keyId,
            use.keySource,
            use.tokenId,
            use.provider,
            use.calls,
            use.firstUsedAt,
            use.lastUsedAt,
          ]),
        );
  return `Fingerprint ${fingerprint}\n\n${stored}\n${used}`;
}

const importEnv: Command = {
  words: 'keys import-env',
  doc: 'Move the provider keys of the environment (OPENAI_API_KEY, …) into the vault, as managed keys.',
  options: {
    user: { value: 'USER', doc: 'as this user’s own keys instead (id, external id or name)' },
    'keys-fd': { value: 'N', doc: 'where provider keys of the environment come in', isHidden: true },
  },
  async run(context) {
    const fd = keysFd(context.text('keys-fd'));
    const keys = fd === null ? [] : readEnvironmentKeys(fd);
    if (keys.length === 0) {
      throw usageError(
        `None of ${variables.join(', ')} is set.`,
        'Set one for this command alone, or use bin/sallyport keys add.',
      );
    }
    try {
      const api = await context.api();
      const name = context.text('user');
      const user = name === null ? null : await userId(api, name);
      const data: Imported[] = [];
      for (const key of keys) data.push(await importOne(api, key, user));
      const rows = data.map((row) => [row.variable, row.provider, row.id, row.message]);
      const next = 'Take the variables out of the environment now: the gateway needs them no more.\n';
      const isDone = data.every(({ id }) => id !== null);
      context.print(
        { data },
        `${textTable(['VARIABLE', 'PROVIDER', 'KEY', 'WHAT'], rows)}${isDone ? `\n${next}` : ''}`,
      );
      return isDone ? exits.ok : exits.refused;
    } finally {
      for (const { secret } of keys) wipe(secret);
    }
  },
};

interface Imported {
  readonly variable: string;
  readonly provider: string;
  /** Null: it was refused. */
  readonly id: string | null;
  /** False too where the same value was there already. */
  readonly imported: boolean;
  readonly message: string;
}

/** One that is refused keeps none of the others out. */
async function importOne(
  api: Api,
  { variable, provider, secret }: EnvironmentKey,
  user: string | null,
): Promise<Imported> {
  try {
    const { id, imported } =
      user === null
        ? await api.call<{ id: string; imported: boolean }>('POST', '/api/api-keys/import', {
            provider,
            ...(await intakeContent(api, provider, secret)),
          })
        : await storeFor(api, provider, user, secret);
    return { variable, provider, id, imported, message: imported ? 'imported' : 'there already' };
  } catch (error) {
    const { message } = failureOf(error);
    return { variable, provider, id: null, imported: false, message };
  }
}

/** Once: the command may be run again. */
async function storeFor(
  api: Api,
  provider: string,
  user: string,
  secret: Buffer,
): Promise<{ id: string; imported: boolean }> {
  const { keys } = await findValue(api, secret);
  const there = keys.find((key) => key.userId === user && key.provider === provider);
  if (there !== undefined) return { id: there.id, imported: false };
  const { id } = await api.call<Key>('POST', '/api/api-keys', {
    name: provider,
    provider,
    userId: user,
    description: 'From the environment',
    ...(await intakeContent(api, provider, secret)),
  });
  return { id, imported: true };
}

/** What is sealed has to name a provider, and here any does. */
async function findValue(api: Api, secret: Buffer): Promise<Finding> {
  const provider = 'custom';
  const content = await intakeContent(api, provider, secret);
  return api.call<Finding>('POST', '/api/api-keys/find', { provider, ...content });
}

const disable = switching(
  'disable',
  false,
  'Use a key for nothing until it is enabled; its streams are cut.',
);
const enable = switching('enable', true, 'Use a key again that was disabled.');

function switching(verb: string, isActive: boolean, doc: string): Command {
  return {
    words: `keys ${verb}`,
    doc,
    argument: 'ID',
    options: {},
    async run(context) {
      const key = await patch(context, { isActive });
      context.print(key, `${key.id} is ${key.status}.\n`);
      return exits.ok;
    },
  };
}

const share: Command = {
  words: 'keys share',
  doc: 'Let others use a key: the whole workspace, some users, or nobody any more.',
  argument: 'ID',
  options: {
    with: { value: 'WHOM', doc: 'workspace, nobody, or users separated by commas', isRequired: true },
  },
  async run(context) {
    const whom = context.text('with') ?? '';
    const api = await context.api();
    const key = await patch(context, { sharedWith: await sharingOf(api, whom) });
    const { sharedWith } = key;
    const told =
      sharedWith === null || sharedWith.length === 0
        ? 'nobody'
        : sharedWith === 'workspace'
          ? 'the whole workspace'
          : sharedWith.join(', ');
    context.print(key, `${key.id} is shared with ${told}.\n`);
    return exits.ok;
  },
};

async function sharingOf(api: Api, whom: string): Promise<'workspace' | readonly string[] | null> {
  if (whom === 'nobody') return null;
  if (whom === 'workspace') return 'workspace';
  const names = whom
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean);
  if (names.length === 0) throw usageError('--with names nobody.', 'To take a key back: --with nobody');
  const ids: string[] = [];
  for (const name of names) ids.push(await userId(api, name));
  return [...new Set(ids)];
}

export const keyLifeCommands: readonly Command[] = [find, importEnv, disable, enable, share];

async function patch(context: Context, change: Readonly<Record<string, unknown>>): Promise<Key> {
  const id = idOf('key', context.argument);
  const api = await context.api();
  return api.call<Key>('PATCH', `/api/api-keys/${id}`, change);
}

async function withSecret<T>(
  context: Context,
  prompt: string,
  work: (api: Api, secret: Buffer) => Promise<T>,
): Promise<T> {
  const secret = await readSecret(context.terminal, prompt);
  try {
    return await work(await context.api(), secret);
  } finally {
    wipe(secret);
  }
}
