import path from 'node:path';
import { readMoment } from '../admin/moment.ts';
import { queryOf } from './api.ts';
import type { Command, Context } from './command.ts';
import { confirm, confirmOption } from './confirmation.ts';
import { exits } from './failure.ts';
import { writeNew } from './new-file.ts';
import { textTable } from './text-table.ts';

const verify: Command = {
  words: 'journal verify',
  isLocal: true,
  doc: 'Check that no record of the journal was changed, lost or moved.',
  options: {
    dir: { value: 'FOLDER', doc: 'check a copy of the journal’s files alone, without the database' },
    since: { value: 'TIME', doc: 'go on from the last checkpoint before it (RFC 3339)' },
    against: { value: 'FILE', doc: 'a copy of the checkpoints, in place of DATA_DIR/checkpoints.txt' },
  },
  async run(context) {
    const deps = await context.deps();
    const [since, against] = [context.text('since'), context.text('against')];
    const found = await deps.verifyJournal({
      dir: context.text('dir'),
      since: since === null ? null : readMoment('/since', since),
      against: against === null ? null : path.resolve(against),
    });
    const { ok, streams, records, openCalls, checkpoints, problems } = found;
    const head = `Records: ${records.toLocaleString('en-US')}, streams: ${streams}, calls under way: ${openCalls}, checkpoints: ${checkpoints.toLocaleString('en-US')}. `;
    const rows = problems.map(({ stream, seq, kind, message }) => [stream, seq, kind, message]);
    const text = ok
      ? `${head}All well.\n`
      : `${head}Problems: ${problems.length}.\n\n${textTable(['STREAM', 'SEQ', 'KIND', 'WHAT'], rows)}`;
    context.print({ ok, streams, records, openCalls, checkpoints, problems }, text);
    return ok ? exits.ok : exits.refused;
  },
};

const proof: Command = {
  words: 'journal proof',
  doc: 'Prove to others that a record is under a signed checkpoint; docs/examples/check-proof.mjs checks it.',
  argument: 'RECEIPT',
  options: { out: { value: 'FILE', doc: 'write it there instead of to standard output' } },
  async run(context) {
    const api = await context.api();
    const found = await api.call<Readonly<Record<string, unknown>>>(
      'GET',
      `/api/audit/proof${queryOf({ record: context.argument })}`,
    );
    const text = `${JSON.stringify(found, null, 2)}\n`;
    const file = context.text('out');
    if (file === null) {
      context.print(found, text);
      return exits.ok;
    }
    await writeNew(file, text);
    context.print({ file }, `Written to ${file}. Check it with the key of: bin/sallyport journal keys\n`);
    return exits.ok;
  },
};

const outcomes = {
  retired: 'dropped',
  due: 'would go',
  'not-covered': 'stays: records of it are in no checkpoint yet',
  late: 'stays: records lie in it that came when it was over',
  faulty: 'stays: bin/sallyport journal verify finds something wrong with it',
} as const;

const retire: Command = {
  words: 'journal retire',
  isLocal: true,
  doc: 'Drop the months that are older than JOURNAL_RETENTION_MONTHS, as the gateway does every day; verifies before.',
  options: { 'dry-run': { value: null, doc: 'say what would go, and drop nothing' }, ...confirmOption },
  async run(context) {
    const deps = await context.deps();
    const isDryRun = context.has('dry-run');
    if (!isDryRun) {
      await confirm(context, async () => {
        const due = (await deps.retireJournal({ isDryRun: true })).filter(({ outcome }) => outcome === 'due');
        if (due.length === 0) return null;
        const told = due.map(
          ({ month, records }) => `${month.slice(0, 7)} (${records.toLocaleString('en-US')} records)`,
        );
        return `This drops for good, with their usage rows: ${told.join(', ')}.`;
      });
    }
    const months = await deps.retireJournal({ isDryRun });
    const rows = months.map(({ month, outcome, records }) => [month.slice(0, 7), records, outcomes[outcome]]);
    const text =
      months.length === 0 ? 'No month is old enough.\n' : textTable(['MONTH', 'RECORDS', ''], rows);
    context.print({ months }, text);
    const isStuck = months.some(({ outcome }) => outcome !== 'retired' && outcome !== 'due');
    return isStuck ? exits.refused : exits.ok;
  },
};

interface SigningKeys {
  readonly data: readonly {
    readonly id: string;
    readonly verifier: string;
    readonly isActive: boolean;
    readonly createdAt: string;
    readonly retiredAt: string | null;
  }[];
}

const keys: Command = {
  words: 'journal keys',
  doc: 'Show the public keys that checkpoints are signed with, for those who check them.',
  options: {},
  async run(context) {
    const api = await context.api();
    return showKeys(context, await api.call<SigningKeys>('GET', '/api/signing-keys'), '');
  },
};

const rotateKey: Command = {
  words: 'journal rotate-key',
  doc: 'Exchange the key that signs checkpoints; the old one introduces the new one and is deleted.',
  options: {},
  async run(context) {
    const api = await context.api();
    const made = await api.call<SigningKeys>('POST', '/api/signing-keys/rotate', {});
    return showKeys(
      context,
      made,
      'A new key signs from now on; who has pinned an earlier one can go on.\n\n',
    );
  },
};

interface Reprojected {
  readonly cursor: string | null;
  readonly looked: number;
  readonly differences: readonly {
    readonly table: string;
    readonly what?: string;
    readonly callId?: string;
    readonly attempt?: number;
    readonly from?: string;
    readonly rows?: number;
  }[];
}

/** Of what differed so many are listed. */
const mostListed = 1_000;

const reproject: Command = {
  words: 'journal reproject',
  doc: 'Make usage rows, their sums and the last use of keys and tokens anew from the records.',
  options: { 'dry-run': { value: null, doc: 'only say what is not as the records say' } },
  async run(context) {
    const api = await context.api();
    const dryRun = context.has('dry-run');
    const listed: Reprojected['differences'][number][] = [];
    let [looked, differing] = [0, 0];
    let cursor: string | null = null;
    do {
      const step: Reprojected = await api.call('POST', '/api/journal/reproject', { cursor, dryRun });
      looked += step.looked;
      differing += step.differences.reduce((sum, { rows = 1 }) => sum + rows, 0);
      listed.push(...step.differences.slice(0, mostListed - listed.length));
      cursor = step.cursor;
    } while (cursor !== null);
    const rows = listed.map(({ table, what, callId, attempt, from, rows: count }) => [
      table,
      what ?? `${count} rows`,
      callId === undefined ? (from ?? null) : `${callId} ${attempt}`,
    ]);
    const head = `Looked at ${looked.toLocaleString('en-US')} records, rows and days. `;
    const done = dryRun ? 'Not as the records say' : 'Mended';
    const text =
      differing === 0
        ? `${head}All as the records say.\n`
        : `${head}${done}: ${differing}.\n\n${textTable(['TABLE', 'WHAT', 'WHERE'], rows)}`;
    context.print({ looked, differing, mended: dryRun ? 0 : differing, differences: listed }, text);
    return dryRun && differing > 0 ? exits.refused : exits.ok;
  },
};

export const journalCommands: readonly Command[] = [verify, reproject, retire, proof, keys, rotateKey];

function showKeys(context: Context, made: SigningKeys, head: string): number {
  const rows = made.data.map(({ createdAt, id, isActive, retiredAt, verifier }) => [
    id,
    isActive ? 'signs' : 'signed',
    createdAt,
    retiredAt,
    verifier,
  ]);
  context.print(made, head + textTable(['KEY', '', 'SINCE', 'UNTIL', 'VERIFIER'], rows));
  return exits.ok;
}
