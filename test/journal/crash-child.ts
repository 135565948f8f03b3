/**
 * Run by recovery.test.ts as a process of its own, to be killed: writes calls in the folder named by its argument, without end,
 * and says each receipt on standard output once `append` has resolved.
 */
import { writeSync } from 'node:fs';
import { newId } from '../../src/ids.ts';
import { openJournal, type Receipt } from '../../src/journal/journal.ts';
import { begin, end, newCall } from './fixture.ts';

const journal = await openJournal({
  dir: process.argv[2] as string,
  nodeId: 'node_a',
  bootId: newId('act'),
  sync: 'strict',
  maxBytes: 1024 ** 3,
  clock: Date.now,
  segmentBytes: 300_000,
});

// Synchronous, so that nothing said is lost with the process.
const say = (kind: string, receipt: Receipt): void =>
  void writeSync(1, `${kind} ${receipt.text} ${receipt.hash}\n`);

// One call stays open for good: wherever the others are when the process is stopped, there is one to settle.
say('begin', await journal.append('use.begin', begin(newCall())));

await Promise.all(
  Array.from({ length: 32 }, async () => {
    for (;;) {
      const call = newCall();
      const receipt = await journal.append('use.begin', begin(call));
      say('begin', receipt);
      say('end', await journal.append('use.end', end(call, receipt)));
    }
  }),
);
