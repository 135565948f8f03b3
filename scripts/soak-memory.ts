import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { mega, soak } from '../bench/soak/run.ts';

// Half an hour of mixed traffic, with clients that leave and a provider that fails, through `bin/sallyport serve`. Exits 1 when the
// resident memory grows by more than a megabyte an hour beyond the error of that figure, when handles are left, or when a call saw
// what it should not. Short runs need `--most`: the heap of a young process grows.
const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    clients: { type: 'string', default: '24' },
    /** MB an hour. */
    most: { type: 'string', default: '1' },
    /** Of the gateway's Node.js, such as --heapsnapshot-signal=SIGUSR2. */
    'node-options': { type: 'string', default: '' },
    json: { type: 'string' },
  },
});
const folder = await mkdtemp(path.join(tmpdir(), 'sallyport-soak-'));
// Run by root, the embedded database is another user, who has to get through here.
await chmod(folder, 0o711);
const say = (line: string): void => void process.stdout.write(`${line}\n`);
try {
  const result = await soak({
    minutes: Number(values.minutes),
    clients: Number(values.clients),
    nodeOptions: values['node-options'],
    key: `sk-proj-${randomBytes(24).toString('hex')}`,
    folder,
    random: Math.random,
    say,
  });
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(result, null, 2)}\n`);
  const { idle, before, after, slope, wrong, calls } = result;
  say(`calls ${JSON.stringify(calls)}`);
  say(
    `RSS ${mega(idle.rssBytes)} idle, ${mega(before.rssBytes)} at rest after the warm-up, ${mega(result.peakRssBytes)} at the most, ${mega(after.rssBytes)} at rest after all`,
  );
  say(`handles ${idle.handles} idle, ${before.handles} after the warm-up, ${after.handles} after all`);
  const most = Number(values.most);
  const flaws = Object.entries(wrong).map(
    ([what, count]) => `${count} calls saw what they should not: ${what}`,
  );
  if (after.handles > before.handles)
    flaws.push(
      `${after.handles - before.handles} handles are left (${after.sockets - before.sockets} sockets)`,
    );
  if (slope === null) flaws.push('too few samples for a slope');
  else {
    // Twice the error: one in twenty runs of a process that does not grow at all would say so otherwise.
    const of = result.isOfRests ? `at rest, ${result.rests.length} times` : 'under traffic';
    say(`RSS slope ${of}: ${slope.rise.toFixed(2)} MB/h ± ${(2 * slope.error).toFixed(2)}, bar ${most}`);
    if (slope.rise - 2 * slope.error > most) flaws.push('the resident memory grows');
    else if (2 * slope.error > most)
      say('The error is larger than the bar: a slow growth would not have shown in this run.');
  }
  for (const flaw of flaws) say(`WRONG: ${flaw}`);
  process.exitCode = flaws.length === 0 ? 0 : 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
