import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AuditEntry } from '../admin/audit-view.ts';
import { SallyportError } from '../errors.ts';
import { queryOf } from './api.ts';
import type { Command, Context } from './command.ts';
import { readEvents } from './event-stream.ts';
import { exits, usageError } from './failure.ts';
import { printable, textTable } from './text-table.ts';

const filters = {
  event: { value: 'EVENT', doc: 'one event, or key.* for all that begin so' },
  key: { value: 'ID', doc: 'of this key' },
  token: { value: 'ID', doc: 'of this token' },
  user: { value: 'ID', doc: 'of this user' },
  call: { value: 'ID', doc: 'of this call' },
  provider: { value: 'NAME', doc: 'openai, anthropic …' },
  outcome: { value: 'CODE', doc: 'ok, or an error code' },
} as const;
const period = {
  from: { value: 'TIME', doc: 'since then (RFC 3339)' },
  to: { value: 'TIME', doc: 'before then' },
} as const;

function filterOf(context: Context): Record<string, string | null> {
  return {
    event: context.text('event'),
    keyId: context.text('key'),
    tokenId: context.text('token'),
    userId: context.text('user'),
    callId: context.text('call'),
    provider: context.text('provider'),
    outcome: context.text('outcome'),
  };
}

const columnsOf = (entry: AuditEntry) => [
  entry.at,
  entry.event,
  entry.actor.id,
  entry.keyId,
  entry.provider,
  entry.outcome,
  entry.callId,
];

const list: Command = {
  words: 'audit list',
  doc: 'List the newest records of the journal.',
  options: { ...filters, ...period, limit: { value: 'N', doc: '1 to 200 (50)' } },
  async run(context) {
    const api = await context.api();
    const query = queryOf({
      ...filterOf(context),
      from: context.text('from'),
      to: context.text('to'),
      limit: context.text('limit'),
    });
    const page = await api.call<{ data: AuditEntry[]; nextCursor: string | null }>(
      'GET',
      `/api/audit${query}`,
    );
    const heads = ['AT', 'EVENT', 'BY', 'KEY', 'PROVIDER', 'OUTCOME', 'CALL'];
    context.print(
      page,
      page.data.length === 0 ? 'No records.\n' : textTable(heads, page.data.map(columnsOf)),
    );
    return exits.ok;
  },
};

const exportAll: Command = {
  words: 'audit export',
  doc: 'Write all records that a filter finds to standard output, as a running gateway streams them.',
  options: { ...filters, ...period, format: { value: 'FORM', doc: 'jsonl (default) or csv' } },
  async run(context) {
    const format = context.text('format') ?? 'jsonl';
    if (format !== 'jsonl' && format !== 'csv')
      throw usageError('--format is jsonl or csv.', 'bin/sallyport audit export --format csv');
    const api = await context.api();
    const query = queryOf({
      ...filterOf(context),
      from: context.text('from'),
      to: context.text('to'),
      format,
    });
    const body = await api.stream(`/api/audit${query}`);
    await pipeline(body, context.terminal.output, { end: false }).catch((error: NodeJS.ErrnoException) => {
      // The reader has what it wanted (`audit export | head`); of the body, which is only read, it cannot tell.
      if (error.code !== 'EPIPE') throw error;
    });
    return exits.ok;
  },
};

/** Before a broken tail is taken up again. */
const retryMs = 2_000;

const tail: Command = {
  words: 'audit tail',
  doc: 'Show records as they come, from a running gateway, until it is interrupted; with --json one a line.',
  options: filters,
  async run(context) {
    const api = await context.api();
    const path = `/api/audit/tail${queryOf(filterOf(context))}`;
    const { error, output } = context.terminal;
    for (let lastId: string | null = null; ; await sleep(retryMs)) {
      const body: AsyncIterable<Buffer> = await api.stream(
        path,
        lastId === null ? {} : { 'last-event-id': lastId },
      );
      try {
        for await (const { id, event, data } of readEvents(body)) {
          lastId = id ?? lastId;
          if (data === null) continue;
          const told: unknown = JSON.parse(data);
          if (event === 'gap') error.write('Too many records came meanwhile: `audit export` has them.\n');
          else if (event === 'end') checkEnd((told as { code?: unknown }).code);
          else if (!(await isTaken(output, context.isJson ? `${data}\n` : line(told as AuditEntry))))
            return exits.ok;
        }
      } catch (failure) {
        // What is not ours to say is a connection that broke: the place is known, and the tail goes on from it.
        if (failure instanceof SallyportError) throw failure;
      }
    }
  },
};

/** False: nobody reads any more (`audit tail | head`), and there is nobody to go on for. */
async function isTaken(output: Context['terminal']['output'], text: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.ErrnoException | null>();
  output.write(text, (error) => resolve(error ?? null));
  const lost = await promise;
  if (lost === null || lost.code === 'EPIPE') return lost === null;
  throw new SallyportError('GATEWAY_UNREACHABLE', `Standard output takes nothing more: ${lost.message}.`, {
    fix: 'Make room where it is written to, and begin again.',
    cause: lost,
  });
}

function checkEnd(code: unknown): void {
  if (code === 'AUTH_INVALID')
    throw new SallyportError('AUTH_INVALID', 'The admin token was revoked, or its role is another now.');
}

function line(entry: AuditEntry): string {
  const cells = columnsOf(entry).filter((cell) => cell !== null);
  return `${printable(cells.join('  '))}\n`;
}

export const auditCommands: readonly Command[] = [list, exportAll, tail];
