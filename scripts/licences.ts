// Compares the licence of every package in the lock file with what may be used here, and exits with 1 where one is neither allowed nor known.
// Usage: npm run licences
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { judge, type LockedPackage } from './licence-rules.ts';

const lock = JSON.parse(readFileSync(path.join(import.meta.dirname, '..', 'package-lock.json'), 'utf8')) as {
  packages: Record<string, LockedPackage>;
};
const { counts, problems } = judge(lock.packages);
for (const [kind, found] of Object.entries(counts)) {
  const parts = Object.entries(found).toSorted(([, a], [, b]) => b - a);
  process.stdout.write(`${kind}: ${parts.map(([licence, count]) => `${licence} ${count}`).join(', ')}\n`);
}
for (const problem of problems) process.stderr.write(`${problem}\n`);
process.exitCode = problems.length === 0 ? 0 : 1;
