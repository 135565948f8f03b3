import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import { Type } from 'typebox';
import type { Export, ExportFormat } from '../../admin/exports.ts';
import { SallyportError } from '../../errors.ts';

export const Format = Type.Optional(Type.Enum(['json', 'csv', 'jsonl']));

/** A column of CSV: its head and what stands in a row. */
export type Column<T> = readonly [head: string, cell: (row: T) => unknown];

const types: Readonly<Record<ExportFormat, string>> = {
  csv: 'text/csv; charset=utf-8',
  jsonl: 'application/jsonl; charset=utf-8',
};
/** For a client to take the next piece. */
const stallMs = 60_000;

/**
 * What a request asks for: `format`, else the one type that `accept` names; null: an answer in pages, as JSON.
 *
 * @throws {SallyportError} REQUEST_INVALID: an export has no pages.
 */
export function exportFormat(
  query: { readonly format?: string | undefined; readonly limit?: unknown; readonly cursor?: unknown },
  accept: string | undefined,
): ExportFormat | null {
  const format = query.format ?? accepted(accept);
  if (format !== 'csv' && format !== 'jsonl') return null;
  if (query.limit === undefined && query.cursor === undefined) return format;
  throw new SallyportError('REQUEST_INVALID', 'An export has all rows: it takes neither limit nor cursor.', {
    errors: [{ path: query.limit === undefined ? '/cursor' : '/limit', message: 'is not for an export' }],
  });
}

function accepted(accept: string | undefined): ExportFormat | null {
  const type = accept?.split(';')[0]?.trim().toLowerCase();
  if (type === 'text/csv') return 'csv';
  return type === 'application/jsonl' || type === 'application/x-ndjson' ? 'jsonl' : null;
}

/** Sends rows as they are read and no faster than they are taken; a client that goes away, or takes nothing for a minute, ends it. */
export function sendExport<T>(
  reply: FastifyReply,
  name: string,
  format: ExportFormat,
  rows: Export<T>,
  columns: readonly Column<T>[],
): FastifyReply {
  const text = format === 'csv' ? csv(rows.pages, columns) : lines(rows.pages);
  const stall = setTimeout(() => body.destroy(), stallMs).unref();
  // A page at a time: records may have 256 KiB each.
  const body = Readable.from(
    watched(text, () => stall.refresh()),
    { highWaterMark: 1 },
  );
  body.once('close', () => {
    clearTimeout(stall);
    rows.close();
  });
  return reply
    .type(types[format])
    .header('content-disposition', `attachment; filename="${name}.${format}"`)
    .send(body);
}

async function* watched(pieces: AsyncGenerator<string>, onTaken: () => void): AsyncGenerator<string> {
  for await (const piece of pieces) {
    yield piece;
    onTaken();
  }
}

async function* lines<T>(pages: AsyncGenerator<readonly T[], void>): AsyncGenerator<string> {
  for await (const page of pages) {
    if (page.length > 0) yield page.map((row) => `${JSON.stringify(row)}\n`).join('');
  }
}

/** RFC 4180. */
async function* csv<T>(
  pages: AsyncGenerator<readonly T[], void>,
  columns: readonly Column<T>[],
): AsyncGenerator<string> {
  yield `${columns.map(([head]) => head).join(',')}\r\n`;
  for await (const page of pages) {
    if (page.length > 0)
      yield page.map((row) => `${columns.map(([, read]) => cell(read(row))).join(',')}\r\n`).join('');
  }
}

/**
 * A spreadsheet takes what begins with one of these for a formula, whoever wrote it (OWASP, "CSV Injection"): an apostrophe goes before
 * it. JSON lines have everything as it is.
 */
const formula = /^[=+\-@\t\r]/;

function cell(value: unknown): string {
  if (value === null || value === undefined) return '';
  const written = typeof value === 'string' ? value : JSON.stringify(value);
  const text = formula.test(written) ? `'${written}` : written;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
