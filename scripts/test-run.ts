// Runs tap with this command's arguments, and with the temporary files in memory where that can be. Most of what tests do to a disk is
// to write, sync and delete what nobody will read again, clones of a database above all: of the suite's time it was a third.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import { memoryFolder } from './memory-folder.ts';

// Taken away by the next run: the database server outlives tap by a moment.
const folder = process.env['TMPDIR'] ?? memoryFolder();
const tap = spawn('tap', process.argv.slice(2), {
  stdio: 'inherit',
  env: {
    ...process.env,
    ...(folder === null ? {} : { TMPDIR: folder }),
    NODE_COMPILE_CACHE: fileURLToPath(new URL('../node_modules/.cache/node', import.meta.url)),
  },
});
// A terminal tells tap too, which ends its tests; then we end.
process.on('SIGINT', () => {});
for (const name of ['SIGTERM', 'SIGHUP'] as const) process.on(name, () => tap.kill(name));
const [code, signal] = (await once(tap, 'exit')) as [number | null, NodeJS.Signals | null];
process.exit(code ?? 128 + constants.signals[signal ?? 'SIGTERM']);
