// Counts the assertions of a TAP stream on standard input, the nested ones too: "passed failed skipped".
import { createInterface } from 'node:readline';

let passed = 0;
let failed = 0;
let skipped = 0;
let previous: { indent: number; ok: boolean } | null = null;
for await (const line of createInterface({ input: process.stdin })) {
  const match = /^( *)(not )?ok\b(.*)$/.exec(line);
  if (match === null) continue;
  const indent = (match[1] as string).length;
  const ok = match[2] === undefined;
  // A line that closes a subtest stands after deeper ones; its assertions are counted already, so count it only where it failed by itself.
  const closes = previous !== null && previous.indent > indent;
  previous = { indent, ok };
  if (/# SKIP\b/i.test(match[3] as string)) skipped += 1;
  else if (closes) continue;
  else if (ok) passed += 1;
  else failed += 1;
}
process.stdout.write(`${passed} ${failed} ${skipped}\n`);
