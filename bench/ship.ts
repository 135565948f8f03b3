import { loadavg } from 'node:os';
import { measureShipping } from './ship-case.ts';

/** `node bench/ship.ts [records] [rounds]`: how fast the journal's files get into the database, beside the design's bar. A missed bar fails nothing. */
const [count, rounds] = [Number(process.argv[2] ?? 200_000), Number(process.argv[3] ?? 3)];
const barPerSecond = 20_000;
for (let round = 0; round < rounds; round += 1) {
  const load = loadavg()[0] ?? Number.NaN;
  const { bytes, memoryMiB, own, postgres, records, seconds, worstDelayMs } = await measureShipping(count);
  const perSecond = records / seconds;
  const us = (cpu: number): string => `${((cpu / records) * 1e6).toFixed(1)} µs`;
  process.stdout.write(
    `${Math.round(perSecond)} records/s (bar ${barPerSecond}: ${perSecond >= barPerSecond ? 'met' : 'MISSED'}), ${records} of ${Math.round(bytes / records)} bytes in ${seconds.toFixed(1)} s; CPU a record: ${us(own)} here, ${us(postgres)} in PostgreSQL; event loop still for ${worstDelayMs.toFixed(0)} ms at most; heap and buffers ${memoryMiB.toFixed(0)} MiB at most; load ${load.toFixed(1)}\n`,
  );
}
