import type { CallView } from '../admin/call-view.ts';
import { type Api, queryOf } from './api.ts';
import type { Command, Context, Option } from './command.ts';
import { dollars } from './dollars.ts';
import { exits } from './failure.ts';
import { idOf } from './named-id.ts';
import { userId } from './people.ts';
import { textTable } from './text-table.ts';

/** Whose calls, and which: of sums and of calls alike. */
export const callFilters: Readonly<Record<string, Option>> = {
  key: { value: 'ID', doc: 'of this key' },
  token: { value: 'ID', doc: 'of this token' },
  user: { value: 'USER', doc: 'of this user (id, external id or name)' },
  provider: { value: 'NAME', doc: 'openai, anthropic …' },
  model: { value: 'MODEL', doc: 'as calls asked for it' },
  tag: { value: 'WORD', doc: 'of tokens with this tag' },
};

export async function callFilterOf(context: Context, api: Api): Promise<Record<string, string | null>> {
  const [key, token, user] = [context.text('key'), context.text('token'), context.text('user')];
  return {
    keyId: key === null ? null : idOf('key', key),
    tokenId: token === null ? null : idOf('tok', token),
    userId: user === null ? null : await userId(api, user),
    provider: context.text('provider'),
    model: context.text('model'),
    tag: context.text('tag'),
  };
}

const calls: Command = {
  words: 'usage calls',
  doc: 'List the newest calls, an attempt a line: who called what, how it ended, what it cost.',
  options: {
    from: { value: 'TIME', doc: 'since then (RFC 3339)' },
    to: { value: 'TIME', doc: 'before then' },
    ...callFilters,
    outcome: { value: 'CODE', doc: 'ok, or an error code' },
    limit: { value: 'N', doc: '1 to 200 (50)' },
  },
  async run(context) {
    const api = await context.api();
    const query = queryOf({
      from: context.text('from'),
      to: context.text('to'),
      ...(await callFilterOf(context, api)),
      outcome: context.text('outcome'),
      limit: context.text('limit'),
    });
    const page = await api.call<{ data: CallView[]; nextCursor: string | null }>(
      'GET',
      `/api/usage/calls${query}`,
    );
    context.print(page, page.data.length === 0 ? 'No calls.\n' : tableOf(page.data));
    return exits.ok;
  },
};

const call: Command = {
  words: 'usage call',
  doc: 'Show the attempts of one call; its id is in the answer’s x-request-id.',
  argument: 'ID',
  options: {},
  async run(context) {
    const id = idOf('call', context.argument);
    const api = await context.api();
    const found = await api.call<{ attempts: CallView[] }>('GET', `/api/usage/calls/${id}`);
    const receipts = found.attempts.map(({ attempt, receipt }) => `Receipt of ${attempt}: ${receipt}\n`);
    context.print(found, `${tableOf(found.attempts)}\n${receipts.join('')}`);
    return exits.ok;
  },
};

export const callCommands: readonly Command[] = [calls, call];

function tableOf(data: readonly CallView[]): string {
  const heads = [
    'STARTED',
    'CALL',
    'TRY',
    'TOKEN',
    'KEY',
    'MODEL',
    'OUTCOME',
    'INPUT',
    'OUTPUT',
    'COST',
    'MS',
  ];
  const rows = data.map((one) => [
    one.startedAt,
    one.id,
    one.attempt,
    one.tokenId,
    one.keyId,
    one.model ?? one.operation,
    one.outcome,
    one.inputTokens,
    one.outputTokens,
    dollars(one.costNanoUsd),
    one.totalMs,
  ]);
  return textTable(heads, rows);
}
