import { rmSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { installProduct, type Product, type Serving } from '../test/support/product.ts';

// How long `bin/sallyport serve` takes from its start to a 200 of /readyz, with the embedded database on an idle machine.
const { values } = parseArgs({ options: { runs: { type: 'string', default: '7' } } });
const runs = Number(values.runs);
const cache = path.join(import.meta.dirname, '../node_modules/.cache/sallyport');
const ends: (() => unknown)[] = [];
const run = { teardown: (end: () => unknown) => void ends.push(end) };
const times = new Map<string, number[]>();

function note(kind: string, ms: number): void {
  times.set(kind, [...(times.get(kind) ?? []), ms]);
}

async function stopped(serving: Serving): Promise<void> {
  const startedAt = performance.now();
  serving.signal('SIGTERM');
  await serving.ended;
  note('stop', performance.now() - startedAt);
}

async function started(kind: string, product: Product): Promise<Serving> {
  const serving = await product.serve();
  note(kind, serving.readyMs);
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
    const sorted = all.toSorted((a, b) => a - b).map((ms) => (ms / 1000).toFixed(2));
    const median = sorted[Math.floor(sorted.length / 2)];
    process.stdout.write(`${kind}: ${median} s (${sorted[0]} to ${sorted.at(-1)}, ${all.length} runs)\n`);
  }
} finally {
  for (const end of ends.toReversed()) await end();
}
