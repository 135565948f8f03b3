import path from 'node:path';
import { readMoment } from '../admin/moment.ts';
import type { Command } from './command.ts';
import { exits } from './failure.ts';
import { textTable } from './text-table.ts';

const verify: Command = {
  words: 'journal verify',
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

export const journalCommands: readonly Command[] = [verify];
