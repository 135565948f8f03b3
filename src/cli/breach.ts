import type { BreachView, Notified } from '../admin/breaches.ts';
import type { Api } from './api.ts';
import type { Command, Context } from './command.ts';
import { AnsweredError, exits } from './failure.ts';
import { textTable } from './text-table.ts';

const which = { value: 'ID', doc: 'which one, where several are open' };

const open: Command = {
  words: 'breach open',
  doc: 'Record that a breach was discovered: the 72 hours until its notice run from then.',
  options: {
    at: { value: 'TIME', doc: 'when it was discovered (RFC 3339); now when left out' },
    'note-id': { value: 'ID', doc: 'where you keep what you know of it, such as a ticket' },
  },
  async run(context) {
    const api = await context.api();
    const [at, noteId] = [context.text('at'), context.text('note-id')];
    const breach = await api.call<BreachView>('POST', '/api/breaches', {
      ...(at === null ? {} : { discoveredAt: at }),
      ...(noteId === null ? {} : { noteId }),
    });
    context.print(breach, `${breach.id}\nThe authority has to be told by ${breach.dueAt}: docs/breach.md.\n`);
    return exits.ok;
  },
};

const list: Command = {
  words: 'breach list',
  doc: 'List breaches, and when their notices are due.',
  options: {},
  async run(context) {
    const data = await (await context.api()).list<BreachView>('/api/breaches');
    const rows = data.map((one) => [one.id, one.discoveredAt, one.dueAt, one.notifiedAt, one.closedAt]);
    const heads = ['ID', 'DISCOVERED', 'DUE', 'NOTIFIED', 'CLOSED'];
    context.print({ data }, rows.length === 0 ? 'No breaches.\n' : textTable(heads, rows));
    return exits.ok;
  },
};

const notify: Command = {
  words: 'breach notify',
  doc: 'Tell everybody whom a breach concerns, once, by mail or webhook; list who cannot be told.',
  options: {
    since: { value: 'TIME', doc: 'from when on keys were exposed (RFC 3339)', isRequired: true },
    until: { value: 'TIME', doc: 'and until when; now when left out' },
    keys: { value: 'A,B', doc: 'the keys that it is about, by id', isRepeatable: true },
    all: { value: null, doc: 'all keys that were kept or used in that time' },
    contact: { value: 'TEXT', doc: 'whom to ask: an address, a telephone number', isRequired: true },
    what: { value: 'TEXT', doc: 'what happened, in your words' },
    breach: which,
    'dry-run': { value: null, doc: 'only show who would be told what' },
  },
  async run(context) {
    const api = await context.api();
    const { id } = await openBreach(api, context);
    const keyIds = context.texts('keys');
    const given = Object.entries({
      since: context.text('since'),
      until: context.text('until'),
      what: context.text('what'),
      contact: context.text('contact'),
    }).filter(([, text]) => text !== null);
    const body = {
      ...Object.fromEntries(given),
      ...(keyIds.length === 0 ? {} : { keyIds }),
      ...(context.has('all') ? { all: true } : {}),
      ...(context.has('dry-run') ? { dryRun: true } : {}),
    };
    const users: Notified['users'][number][] = [];
    let page: Notified;
    let cursor: string | null = null;
    do {
      page = await api.call<Notified>('POST', `/api/breaches/${id}/notify`, {
        ...body,
        ...(cursor === null ? {} : { cursor }),
      });
      users.push(...page.users);
      cursor = page.cursor;
    } while (cursor !== null);
    context.print({ breach: page.breach, affected: page.affected, users }, told(page, users));
    return users.every(({ state }) => state !== 'failed' && state !== 'busy') ? exits.ok : exits.refused;
  },
};

const close: Command = {
  words: 'breach close',
  doc: 'End a breach: whoever could not be told by notify was told otherwise.',
  options: { breach: which },
  async run(context) {
    const api = await context.api();
    const { id } = await openBreach(api, context);
    const breach = await api.call<BreachView>('POST', `/api/breaches/${id}/close`, {});
    context.print(breach, `${breach.id} was closed at ${breach.closedAt ?? ''}.\n`);
    return exits.ok;
  },
};

function told({ breach, affected }: Notified, users: Notified['users']): string {
  const rows = users.map((one) => [one.userId, one.channel, one.state, one.code, one.keyIds.length]);
  const [first] = users.flatMap(({ message }) => message ?? []);
  const example = first === undefined ? '' : `\nThe first message:\n\n${first.subject}\n\n${first.text}`;
  const state =
    breach.notifiedAt === null
      ? `Not everybody has the notice; it is due by ${breach.dueAt}. Who is unreachable has to be told otherwise: then, breach close.\n`
      : `Everybody has the notice since ${breach.notifiedAt}.\n`;
  const table = rows.length === 0 ? '' : textTable(['USER', 'BY', 'STATE', 'CODE', 'KEYS'], rows);
  return `Concerned: ${affected}.\n${table}${state}${example}`;
}

/** The one that is open, or that is named. */
async function openBreach(api: Api, context: Context): Promise<BreachView> {
  const all = await api.list<BreachView>('/api/breaches');
  const named = context.text('breach');
  const found = all.filter((one) => (named === null ? one.closedAt === null : one.id === named));
  const [only] = found;
  if (only !== undefined && found.length === 1) return only;
  throw found.length > 1
    ? new AnsweredError('CONFLICT', 'Several breaches are open.', 'Name one: --breach ID (breach list).')
    : new AnsweredError(
        'NOT_FOUND',
        'There is no such open breach.',
        'Record it first: bin/sallyport breach open',
      );
}

export const breachCommands: readonly Command[] = [open, list, notify, close];
