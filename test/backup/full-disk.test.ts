import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';

const module = path.join(import.meta.dirname, '..', '..', 'src', 'backup', 'journal-copy.ts');

t.test('a copy of the journal that found no room for its end is a failure, not a shorter copy', (t) => {
  const top = mkdtempSync(path.join(tmpdir(), 'sallyport-full-'));
  t.teardown(() => rmSync(top, { recursive: true }));
  const from = path.join(top, 'journal');
  mkdirSync(from);
  writeFileSync(path.join(from, '00000001.node.boot.000000000000.jsonl'), `${'x'.repeat(99)}\n`.repeat(1000));
  const program = `
    const { mirrorJournal } = await import(${JSON.stringify(module)});
    const copied = mirrorJournal(${JSON.stringify(from)}, ${JSON.stringify(path.join(top, 'copy'))}, new Map());
    process.stdout.write(await copied.then(() => 'all is copied', (error) => error.code));`;
  // Without what the test runner hands on, which would write files too. No disk that is full, but the same to a write: it takes what still fits, and the next one fails. 8 or 4 KiB, as the shell counts.
  const { stdout, stderr } = spawnSync(
    'sh',
    ['-c', 'ulimit -f 8; exec env -i "$0" --input-type=module -e "$1"', process.execPath, program],
    { encoding: 'utf8' },
  );
  t.equal(stdout, 'EFBIG', stderr);
  t.end();
});
