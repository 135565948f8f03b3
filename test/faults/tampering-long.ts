// The long form of tampering.test.ts: a million honest records of two nodes whose clocks jump, gone through without a false alarm and in
// time, then tampered with in one place. `node test/faults/tampering-long.ts [records]`; takes a quarter of an hour, most of it to write them.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asDatabaseWriter, told, verified } from './tampering.ts';
import { writeHonestJournal } from './honest-journal.ts';

const count = Number(process.argv[2] ?? 1_000_000);
const closers: (() => Promise<void> | void)[] = [];
const folder = mkdtempSync(join(tmpdir(), 'sallyport-tampering-'));
const say = (line: string): void => void process.stdout.write(`${line}\n`);
try {
  let at = performance.now();
  const seconds = (): string => {
    const took = (performance.now() - at) / 1000;
    at = performance.now();
    return `${took.toFixed(1)} s`;
  };
  const journal = await writeHonestJournal({ teardown: (work) => void closers.unshift(work) }, folder, count);
  say(`written: ${journal.records} records in ${seconds()}`);
  for (let round = 0; round < 3; round += 1) {
    const cpu = process.cpuUsage();
    const verdict = await verified(journal);
    const used = process.cpuUsage(cpu);
    say(
      `verified: ${verdict.records} records, ${verdict.checkpoints} checkpoints, ${verdict.problems.length} problems in ${seconds()}, ${((used.user + used.system) / 1e6).toFixed(1)} s of CPU, ${Math.round(process.memoryUsage.rss() / 1024 ** 2)} MiB`,
    );
    if (!verdict.ok) throw new Error(told(verdict.problems).slice(0, 5).join('\n'));
  }
  const [, stream] = journal.streams;
  const where = `stream = '${stream}' and seq = 1234`;
  const attacks = {
    'a byte changed': `update journal set line = overlay(line placing '9' from length(line) - 40) where ${where}`,
    'a row deleted': `delete from journal where ${where}`,
    'the last checkpoint deleted':
      'delete from checkpoints where number = (select max(number) from checkpoints)',
  };
  for (const [what, statement] of Object.entries(attacks)) {
    const verdict = await asDatabaseWriter(journal, [statement], () => verified(journal));
    say(`${what}: ${told(verdict.problems).slice(0, 3).join(', ')} (${seconds()})`);
    if (verdict.ok) throw new Error(`not found: ${what}`);
  }
} finally {
  for (const close of closers) await close();
  rmSync(folder, { recursive: true, force: true });
}
