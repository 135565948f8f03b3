// Reads a TAP stream on standard input and prints what its own last line counts: "passed failed skipped"; "0 0 0" without one.
import { createInterface } from 'node:readline';

let counts = { pass: 0, fail: 0, skip: 0, todo: 0 };
for await (const line of createInterface({ input: process.stdin })) {
  // `# { total: 12, pass: 10, fail: 1, skip: 1 }`, at the outermost level; members that are 0 are left out.
  if (!/^# \{ total: \d+/.test(line)) continue;
  counts = { pass: 0, fail: 0, skip: 0, todo: 0 };
  for (const [, name, count] of line.matchAll(/(pass|fail|skip|todo): (\d+)/g)) {
    counts[name as keyof typeof counts] = Number(count);
  }
}
process.stdout.write(`${counts.pass} ${counts.fail} ${counts.skip + counts.todo}\n`);
