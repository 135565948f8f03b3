import { rmSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { cpuTimeOf } from '../bench/cpu-time.ts';
import { installProduct, type Product, type Serving } from '../test/support/product.ts';

// How long `bin/sallyport serve` takes from its start to a 200 of /readyz, with the embedded database, and the CPU time of its process.
const { values } = parseArgs({ options: { runs: { type: 'string', default: '7' } } });
const runs = Number(values.runs);
const cache = path.join(import.meta.dirname, '../node_modules/.cache/sallyport');
const ends: (() => unknown)[] = [];
const run = { teardown: (end: () => unknown) => void ends.push(end) };
const times = new Map<string, { ms: number; cpuSeconds: number }[]>();

function note(kind: string, ms: number, cpuSeconds: number): void {
  times.set(kind, [...(times.get(kind) ?? []), { ms, cpuSeconds }]);
}

async function stopped(serving: Serving): Promise<void> {
  const startedAt = performance.now();
  serving.signal('SIGTERM');
  await serving.ended;
  note('stop', performance.now() - startedAt, 0);
}

async function started(kind: string, product: Product): Promise<Serving> {
  const serving = await product.serve();
  note(kind, serving.readyMs, cpuTimeOf(serving.pid)?.own ?? 0);
  return serving;
}

try {
  for (let n = 0; n < runs; n += 1) {
    // As after `npm ci`: nothing has been compiled, and there is no database.
    rmSync(cache, { recursive: true, force: true });
    const product = await installProduct(run);
    await stopped(await started('first start', product));
    const warm = await started('start', product);
    warm.signal('SIGKILL');
    await warm.ended;
    await stopped(await started('start after kill -9', product));
    for (const end of ends.splice(0).toReversed()) await end();
  }
  for (const [kind, all] of times) {
    const [ms, cpu] = [median(all.map((each) => each.ms / 1000)), median(all.map((each) => each.cpuSeconds))];
    process.stdout.write(`${kind}: ${ms} s, ${cpu} s of CPU time\n`);
  }
} finally {
  for (const end of ends.toReversed()) await end();
}

/** `0.81 (0.79 to 1.02)` */
function median(all: readonly number[]): string {
  const sorted = all.toSorted((a, b) => a - b).map((each) => each.toFixed(2));
  return `${sorted[Math.floor(sorted.length / 2)]} (${sorted[0]} to ${sorted.at(-1)})`;
}
