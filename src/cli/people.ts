import { isId } from '../ids.ts';
import type { Api } from './api.ts';
import type { Command, Context } from './command.ts';
import { confirm, confirmOption } from './confirmation.ts';
import { writeNew } from './new-file.ts';
import { AnsweredError, exits, failureOf, usageError } from './failure.ts';
import { fieldList, textTable } from './text-table.ts';

interface User {
  readonly id: string;
  readonly name: string;
  readonly externalId: string | null;
  readonly email: string | null;
  readonly storeKeys: boolean;
  readonly createdAt: string;
}

export interface Member {
  readonly userId: string;
  readonly name: string;
  readonly role: string;
  readonly createdAt: string;
}

const usersList: Command = {
  words: 'users list',
  doc: 'List the workspace’s users and their roles.',
  options: {},
  async run(context) {
    const api = await context.api();
    const data = await api.list<User>('/api/users');
    const members = await api.list<Member>('/api/members');
    const roles = new Map(members.map(({ role, userId: id }) => [id, role]));
    const rows = data.map((user) => [
      user.id,
      user.name,
      user.externalId,
      user.email,
      roles.get(user.id) ?? null,
      user.createdAt,
    ]);
    context.print({ data }, textTable(['ID', 'NAME', 'EXTERNAL ID', 'EMAIL', 'ROLE', 'MADE'], rows));
    return exits.ok;
  },
};

const usersShow: Command = {
  words: 'users show',
  doc: 'Show a user: his role, and how many keys and tokens he has.',
  argument: 'USER',
  options: {},
  async run(context) {
    const api = await context.api();
    const user = await api.call<User>('GET', `/api/users/${await userId(api, context.argument)}`);
    const members = await api.list<Member>('/api/members');
    const { keys, tokens } = await holdingsOf(api, user.id);
    const fields = {
      id: user.id,
      name: user.name,
      'external id': user.externalId,
      email: user.email,
      role: members.find(({ userId: id }) => id === user.id)?.role ?? 'none',
      keys: user.storeKeys ? keys : 'are not stored for him',
      tokens,
      made: user.createdAt,
    };
    context.print(user, fieldList(fields));
    return exits.ok;
  },
};

const usersUpdate: Command = {
  words: 'users update',
  doc: 'Change what is said of a user; what is left out stays.',
  argument: 'USER',
  options: {
    name: { value: 'NAME', doc: 'what to call him' },
    'external-id': { value: 'ID', doc: 'his id in your own system; none takes it away' },
    email: { value: 'ADDRESS', doc: 'his e-mail address; none takes it away' },
  },
  async run(context) {
    const change = {
      ...given('name', context.text('name')),
      ...givenOrNone(context, 'externalId', 'external-id'),
      ...givenOrNone(context, 'email', 'email'),
    };
    demandChange(change, 'bin/sallyport users update --help');
    const api = await context.api();
    const id = await userId(api, context.argument);
    const user = await api.call<User>('PATCH', `/api/users/${id}`, change);
    context.print(user, `Changed ${user.id}.\n`);
    return exits.ok;
  },
};

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
    return exits.ok;
  },
};

const usersErase: Command = {
  words: 'users erase',
  doc: 'Erase a user for good: his keys are shredded, his tokens and all that says who he is deleted, his streams cut.',
  argument: 'USER',
  options: confirmOption,
  async run(context) {
    const api = await context.api();
    const id = await userId(api, context.argument);
    await confirm(context, async () => {
      const user = await findUser(api, id);
      if (user === null) return null;
      const { keys, tokens } = await holdingsOf(api, id);
      return `This erases the user “${user.name}” (${user.externalId ?? id}) for good: ${keys ?? 'all'} keys of his are shredded, ${tokens ?? 'all'} tokens that work and all that says who he is are deleted. Uses stay on record under his id.`;
    });
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

export const peopleCommands: readonly Command[] = [
  usersCreate,
  usersList,
  usersShow,
  usersUpdate,
  usersErase,
  usersExport,
];

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
      'bin/sallyport users list shows them; users create makes one.',
    );
  if (other !== undefined)
    throw new AnsweredError('CONFLICT', 'Several users have this name.', 'Give the id of one (usr_…).');
  return user.id;
}

/** `{name: value}`, or nothing for null: the interface refuses a null where it means "left out". */
export function given<T>(name: string, value: T | null): Record<string, T> {
  return value === null ? {} : { [name]: value };
}

/** `{name: null}` where the option says `none`. */
export function givenOrNone(context: Context, name: string, option: string): Record<string, string | null> {
  const text = context.text(option);
  return text === 'none' ? { [name]: null } : given(name, text);
}

/** @throws {SallyportError} REQUEST_INVALID: the command says nothing to change. */
export function demandChange(change: object, fix: string): void {
  if (Object.keys(change).length === 0) throw usageError('This says nothing to change.', fix);
}

/** Null for one who is gone: to erase him again is answered with the receipt of the first time. */
async function findUser(api: Api, id: string): Promise<User | null> {
  return api.call<User>('GET', `/api/users/${id}`).catch((error: unknown) => {
    if (failureOf(error).code === 'NOT_FOUND') return null;
    throw error;
  });
}

/** How many of a user's keys and live tokens there are, of those that the caller sees; null where he may see none. */
async function holdingsOf(api: Api, id: string): Promise<Record<'keys' | 'tokens', number | null>> {
  const count = async (path: string, query: Readonly<Record<string, string>>) =>
    api.list(path, { userId: id, ...query }).then(
      (rows) => rows.length,
      (error: unknown) => {
        if (failureOf(error).code === 'FORBIDDEN') return null;
        throw error;
      },
    );
  return {
    keys: await count('/api/api-keys', {}),
    tokens: await count('/api/tokens', { status: 'active' }),
  };
}
