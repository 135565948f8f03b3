import type { Command } from './command.ts';
import type { Initialised } from './deps.ts';
import { exits } from './failure.ts';
import { credentialsText } from './installation.ts';
import { yesOrNo } from './option-values.ts';
import { demandChange, given } from './people.ts';
import { fieldList, textTable } from './text-table.ts';

interface Workspace {
  readonly id: string;
  readonly name: string;
  readonly managedKeys: boolean;
  readonly storeKeys: boolean;
  readonly createdAt: string;
}

const create: Command = {
  words: 'workspaces create',
  doc: 'Make a workspace with an owner, an admin token and a gateway token.',
  options: { name: { value: 'NAME', doc: 'what to call it (workspace)' } },
  async run(context) {
    const api = await context.api();
    const made = await api.call<Initialised>('POST', '/api/workspaces', {
      name: context.text('name') ?? 'workspace',
    });
    const { workspaceId, adminToken, token } = made;
    context.print({ workspaceId, adminToken, token }, credentialsText(made));
    return exits.ok;
  },
};

const list: Command = {
  words: 'workspaces list',
  doc: 'List the workspaces: all of them to the operator, else one’s own.',
  options: {},
  async run(context) {
    const api = await context.api();
    const data = await api.list<Workspace>('/api/workspaces');
    const { id: here } = await api.call<Workspace>('GET', '/api/workspaces/current');
    const rows = data.map(({ id, name, managedKeys, storeKeys, createdAt }) => [
      id,
      name,
      storeKeys ? 'yes' : 'no',
      managedKeys ? 'to all' : 'to the operator',
      createdAt,
      id === here ? 'commands go here' : '',
    ]);
    context.print({ data }, textTable(['ID', 'NAME', 'STORES KEYS', 'LENDS MANAGED KEYS', 'MADE', ''], rows));
    return exits.ok;
  },
};

const show: Command = {
  words: 'workspaces show',
  doc: 'Show the workspace that commands go to.',
  options: {},
  async run(context) {
    const api = await context.api();
    const workspace = await api.call<Workspace>('GET', '/api/workspaces/current');
    context.print(workspace, textOf(workspace));
    return exits.ok;
  },
};

const update: Command = {
  words: 'workspaces update',
  doc: 'Change the workspace that commands go to; what is left out stays.',
  options: {
    name: { value: 'NAME', doc: 'what to call it' },
    'managed-keys': { value: 'YES|NO', doc: 'may every user use the keys that import-env stored' },
  },
  async run(context) {
    const change = {
      ...given('name', context.text('name')),
      ...given('managedKeys', yesOrNo(context, 'managed-keys')),
    };
    demandChange(change, 'bin/sallyport workspaces update --help');
    const api = await context.api();
    const workspace = await api.call<Workspace>('PATCH', '/api/workspaces/current', change);
    context.print(workspace, textOf(workspace));
    return exits.ok;
  },
};

export const workspaceCommands: readonly Command[] = [create, list, show, update];

function textOf({ id, name, managedKeys, storeKeys, createdAt }: Workspace): string {
  return fieldList({
    id,
    name,
    'stores keys': storeKeys ? 'yes' : 'no',
    'lends managed keys': managedKeys ? 'to all its users' : 'to the operator',
    made: createdAt,
  });
}
