import type { TokenView } from '../admin/token-view.ts';
import type { Command, Context, Option } from './command.ts';
import { confirm, confirmOption } from './confirmation.ts';
import { exits } from './failure.ts';
import { idOf } from './named-id.ts';
import { entriesOf, wholeNumber } from './option-values.ts';
import { demandChange, given, givenOrNone, userId } from './people.ts';
import { textTable } from './text-table.ts';
import { tokenText } from './token-text.ts';
import { policyOf, policyOptions } from './token-policy.ts';

/** What a token may reach, and how often. */
const reachOptions: Readonly<Record<string, Option>> = {
  providers: { value: 'LIST', doc: 'only these providers, separated by commas' },
  models: { value: 'LIST', doc: 'only these models, separated by commas' },
  keys: { value: 'LIST', doc: 'only these key ids, separated by commas' },
  'requests-per-minute': { value: 'N', doc: 'at most so many calls a minute' },
  'concurrent-calls': { value: 'N', doc: 'at most so many calls at once' },
  endpoints: {
    value: 'LIST',
    doc: 'only these operations, such as openai.chat,openai.embeddings or google.*',
  },
  networks: { value: 'LIST', doc: 'only from these addresses: 10.0.0.0/8,2001:db8::/32' },
  tags: { value: 'LIST', doc: 'words to find its usage by' },
};

const create: Command = {
  words: 'tokens create',
  doc: 'Make a gateway token, or with --admin one for /api; it is shown this once.',
  options: {
    name: { value: 'NAME', doc: 'what it is for', isRequired: true },
    user: { value: 'USER', doc: 'whose token it is (id, external id or name); else the operator’s' },
    admin: { value: null, doc: 'an admin token (spa_…), for /api' },
    expires: { value: 'TIME', doc: 'RFC 3339: 2027-12-31T23:59:59Z' },
    ...reachOptions,
    ...policyOptions,
  },
  async run(context) {
    const api = await context.api();
    const user = context.text('user');
    const made = await api.call<{ id: string; token: string }>('POST', '/api/tokens', {
      name: context.text('name'),
      kind: context.has('admin') ? 'admin' : 'gateway',
      ...given('userId', user === null ? null : await userId(api, user)),
      ...given('expiresAt', context.text('expires')),
      ...given('providers', entriesOf(context, 'providers')),
      ...given('models', entriesOf(context, 'models')),
      ...given('keyIds', entriesOf(context, 'keys')),
      ...given('endpoints', entriesOf(context, 'endpoints')),
      ...given('networks', entriesOf(context, 'networks')),
      ...given('tags', entriesOf(context, 'tags')),
      ...given('requestsPerMinute', wholeNumber(context, 'requests-per-minute')),
      ...given('concurrentCalls', wholeNumber(context, 'concurrent-calls')),
      ...given('policy', policyOf(context)),
    });
    context.print(
      { id: made.id, token: made.token },
      `${made.token}\n\nShown this once. Its id is ${made.id}.\n`,
    );
    return exits.ok;
  },
};

const list: Command = {
  words: 'tokens list',
  doc: 'List the tokens; never their secrets.',
  options: {
    user: { value: 'USER', doc: 'of one user' },
    status: { value: 'STATUS', doc: 'active, revoked or expired' },
    tag: { value: 'WORD', doc: 'with this tag' },
  },
  async run(context) {
    const api = await context.api();
    const user = context.text('user');
    const data = await api.list<TokenView>('/api/tokens', {
      userId: user === null ? null : await userId(api, user),
      status: context.text('status'),
      tag: context.text('tag'),
    });
    const rows = data.map((token) => [
      token.id,
      token.name,
      token.kind,
      `${token.prefix}…`,
      token.status,
      token.expiresAt,
      token.lastUsedAt,
    ]);
    const none = 'No tokens. Make one: bin/sallyport tokens create --name app\n';
    context.print(
      { data },
      rows.length === 0
        ? none
        : textTable(['ID', 'NAME', 'KIND', 'BEGINS', 'STATUS', 'EXPIRES', 'LAST USED'], rows),
    );
    return exits.ok;
  },
};

const show: Command = {
  words: 'tokens show',
  doc: 'Show a token: what it may reach, its limits and how its calls are carried; never its secret.',
  argument: 'ID',
  options: {},
  async run(context) {
    const id = idOf('tok', context.argument);
    const api = await context.api();
    const token = await api.call<TokenView>('GET', `/api/tokens/${id}`);
    context.print(token, tokenText(token));
    return exits.ok;
  },
};

const update: Command = {
  words: 'tokens update',
  doc: 'Change what a token may do; what is left out stays, and the app goes on with the token that it has.',
  argument: 'ID',
  options: {
    name: { value: 'NAME', doc: 'what it is for' },
    expires: { value: 'TIME', doc: 'RFC 3339: 2027-12-31T23:59:59Z; none: never' },
    ...Object.fromEntries(
      Object.entries({ ...reachOptions, ...policyOptions }).map(([name, option]) => [
        name,
        option.value === 'LIST' ? { ...option, doc: `${option.doc}; or none` } : option,
      ]),
    ),
    'retry-stale': { value: null, doc: 'takes --no-retry-stale back' },
  },
  async run(context) {
    const change = {
      ...given('name', context.text('name')),
      ...givenOrNone(context, 'expiresAt', 'expires'),
      ...entriesOrNone(context, 'providers', 'providers'),
      ...entriesOrNone(context, 'models', 'models'),
      ...entriesOrNone(context, 'keyIds', 'keys'),
      ...entriesOrNone(context, 'endpoints', 'endpoints'),
      ...entriesOrNone(context, 'networks', 'networks'),
      ...entriesOrNone(context, 'tags', 'tags'),
      ...given('requestsPerMinute', wholeNumber(context, 'requests-per-minute')),
      ...given('concurrentCalls', wholeNumber(context, 'concurrent-calls')),
      ...given('policy', policyOf(context)),
    };
    demandChange(change, 'bin/sallyport tokens update --help');
    const id = idOf('tok', context.argument);
    const api = await context.api();
    const token = await api.call<TokenView>('PATCH', `/api/tokens/${id}`, change);
    context.print(token, tokenText(token));
    return exits.ok;
  },
};

const revoke: Command = {
  words: 'tokens revoke',
  doc: 'End a token; its streams are cut within a second.',
  argument: 'ID',
  options: confirmOption,
  async run(context) {
    const id = idOf('tok', context.argument);
    const api = await context.api();
    await confirm(context, async () => {
      const { name, prefix, status, lastUsedAt } = await api.call<TokenView>('GET', `/api/tokens/${id}`);
      if (status === 'revoked') return null;
      return `This revokes the token “${name}” (${prefix}…) for good: whoever uses it is refused from now on. Last used: ${lastUsedAt ?? 'never'}.`;
    });
    const token = await api.call<TokenView>('DELETE', `/api/tokens/${id}`);
    context.print(token, `Revoked ${token.id} (${token.prefix}…).\n`);
    return exits.ok;
  },
};

export const tokenCommands: readonly Command[] = [create, list, show, update, revoke];

/** `none` takes the restriction away. */
function entriesOrNone(context: Context, name: string, option: string) {
  return context.text(option) === 'none' ? { [name]: null } : given(name, entriesOf(context, option));
}
