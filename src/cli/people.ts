import { isId } from '../ids.ts';
import type { Api } from './api.ts';
import type { Command } from './command.ts';
import type { Initialised } from './deps.ts';
import { writeNew } from './new-file.ts';
import { AnsweredError, exits } from './failure.ts';
import { credentialsText } from './installation.ts';

interface User {
  readonly id: string;
  readonly name: string;
  readonly externalId: string | null;
}

const usersCreate: Command = {
  words: 'users create',
  doc: 'Make a user, such as a customer of your product; users sign in nowhere.',
  options: {
    name: { value: 'NAME', doc: 'what to call him', isRequired: true },
    'external-id': { value: 'ID', doc: 'his id in your own system' },
    email: { value: 'ADDRESS', doc: 'his e-mail address' },
  },
  async run(context) {
    const api = await context.api();
    const user = await api.call<User>('POST', '/api/users', {
      name: context.text('name'),
      ...given('externalId', context.text('external-id')),
      ...given('email', context.text('email')),
    });
    context.print({ id: user.id, name: user.name }, `User ${user.id}\n`);
    return 0;
  },
};

const usersErase: Command = {
  words: 'users erase',
  doc: 'Erase a user for good: his keys are shredded, his tokens and all that says who he is deleted, his streams cut.',
  argument: 'USER',
  options: {},
  async run(context) {
    const api = await context.api();
    const id = await userId(api, context.argument);
    const gone = await api.call<{ receipt: string }>('DELETE', `/api/users/${id}`);
    context.print(gone, `Erased. Receipt: ${gone.receipt}\n`);
    return exits.ok;
  },
};

const usersExport: Command = {
  words: 'users export',
  doc: 'Write all that is kept about a user, as JSON lines.',
  argument: 'USER',
  options: { out: { value: 'FILE', doc: 'where to; it must not be there yet', isRequired: true } },
  async run(context) {
    const api = await context.api();
    const id = await userId(api, context.argument);
    const file = context.text('out') ?? '';
    const text = await api.text(`/api/users/${id}/export`);
    await writeNew(file, text);
    context.print({ file }, `Written to ${file}\n`);
    return exits.ok;
  },
};

const workspacesCreate: Command = {
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
    return 0;
  },
};

export const peopleCommands: readonly Command[] = [usersCreate, usersErase, usersExport, workspacesCreate];

/** The id of the user whom `text` names by id, external id or name. */
export async function userId(api: Api, text: string): Promise<string> {
  if (isId('usr', text)) return text;
  const users = await api.list<User>(`/api/users`);
  const matches =
    users.filter((user) => user.externalId === text).length > 0
      ? users.filter((user) => user.externalId === text)
      : users.filter((user) => user.name === text);
  const [user, other] = matches;
  if (user === undefined)
    throw new AnsweredError(
      'NOT_FOUND',
      'There is no such user.',
      'Make one: bin/sallyport users create --name NAME',
    );
  if (other !== undefined)
    throw new AnsweredError('CONFLICT', 'Several users have this name.', 'Give the id of one (usr_…).');
  return user.id;
}

/** `{name: value}`, or nothing for null: the interface refuses a null where it means "left out". */
export function given<T>(name: string, value: T | null): Record<string, T> {
  return value === null ? {} : { [name]: value };
}
