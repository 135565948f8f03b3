import { measureVault } from './vault-cases.ts';

/** `node bench/vault.ts [rounds]`: what opening and sealing cost, in microseconds, beside the design's bars. Missed bars fail nothing. */
const rounds = Number(process.argv[2] ?? 20);
const results = await measureVault(rounds, 500);
const lines = results.map(({ name, barUs, medianUs, p95Us }) =>
  [
    name.padEnd(18),
    medianUs.toFixed(1).padStart(8),
    p95Us.toFixed(1).padStart(8),
    barUs === null ? '' : `${String(barUs).padStart(6)}  ${medianUs <= barUs ? 'met' : 'MISSED'}`,
  ].join(' '),
);
const head = ['µs'.padEnd(18), 'median'.padStart(8), 'p95'.padStart(8), 'bar'.padStart(6)].join(' ');
process.stdout.write(`${[head, ...lines].join('\n')}\n`);
