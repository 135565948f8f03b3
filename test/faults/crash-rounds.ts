import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Test } from 'tap';
import { installProduct, type Product } from '../support/product.ts';
import { readBooks, readPidFile, untilShipped, type Books } from './books.ts';
import { startCrowd, type Held } from './crowd.ts';
import { diskFaults, lacksFaults, type Fault } from './disk-faults.ts';
import { pacedUpstream } from './paced-upstream.ts';

/** A moment drawn by lot, or a point that the process comes by under load (disk-shim.c). */
export type CrashPoint = 'anywhere' | Fault;

/** Of both kinds, by turns; by lot alone where the points cannot be had. */
export const crashPoints: readonly CrashPoint[] =
  lacksFaults === false
    ? [
        'between write and sync',
        'in mid-roll',
        'in mid-ship',
        'in COMMIT',
        'anywhere',
        'in the middle of a write',
        'anywhere',
      ]
    : ['anywhere'];

export interface CrashOptions {
  /** Of the moments of the kills and the provider's pauses. */
  readonly seed: number;
  readonly rounds: number;
  /** Answers begun before the kill, at least. */
  readonly callsPerRound: number;
  readonly clients: number;
  /** Where the process ends, round by round, from the beginning again when they are through. */
  readonly points: readonly CrashPoint[];
  /** `journal verify` after every so many rounds, and after the last. */
  readonly verifyEvery: number;
}

/** What was found after one kill and the start that followed it. Counts are of the whole run so far. */
export interface RoundReport {
  readonly round: number;
  readonly point: CrashPoint;
  readonly readyMs: number;
  readonly answers: number;
  readonly upstream: number;
  readonly begins: number;
  readonly crashed: number;
  /** Sentences; none when all is as it should be. */
  readonly wrongs: readonly string[];
}

/** Kills the gateway under load, starts it again and compares everybody's books, round after round. */
export async function* crashRounds(
  t: Pick<Test, 'teardown'>,
  { seed, rounds, callsPerRound, clients, points, verifyEvery }: CrashOptions,
): AsyncGenerator<RoundReport> {
  const random = randomFrom(seed);
  const key = `sk-${randomBytes(24).toString('hex')}`;
  const upstream = await pacedUpstream(t, key, random);
  const disk = points.every((point) => point === 'anywhere') ? null : diskFaults(t);
  const product = await installProduct(t, {
    // Segments as small as they get: every thousand calls another one.
    settings: { SALLYPORT_OPENAI_ORIGIN: upstream.origin, JOURNAL_MAX_BYTES: '16MiB', ...disk?.settings },
  });
  await product.run(['init']);
  await product.run(['keys', 'add', '--provider', 'openai', '--name', 'main'], `${key}\n`);
  const { token } = await product.run(
    'tokens create --name app --requests-per-minute 1000000 --concurrent-calls 1000'.split(' '),
  );
  const held: Held[] = [];
  let gateway = await product.serve();
  const database = databasePid(product);
  for (let round = 1; round <= rounds; round += 1) {
    const crowd = startCrowd({ origin: gateway.origin, token }, clients, (n) => `gpt-4o-${round}-${n}`);
    await crowd.begun(callsPerRound + Math.floor(random() * clients));
    // Neither at an answer's beginning only: somewhere within the next calls.
    await pause(random() * 12);
    crowd.expectEnd();
    const point = points[(round - 1) % points.length] ?? 'anywhere';
    if (point === 'anywhere' || disk === null) gateway.signal('SIGKILL');
    else disk.set(point);
    const end = await gateway.ended;
    disk?.set('none');
    await crowd.gone;
    held.push(...crowd.held);

    gateway = await product.serve();
    await untilShipped(gateway.origin);
    const books = await readBooks(product.dataDir);
    const wrongs = compare(held, upstream, books);
    if (end !== 'SIGKILL') wrongs.push(`the process ended by itself: ${end}`);
    if (databasePid(product) !== database) wrongs.push('the database was not adopted, but started anew');
    if (round % verifyEvery === 0 || round === rounds) {
      const verdict = await product.run(['journal', 'verify']);
      if (verdict.ok !== true || verdict.openCalls !== 0)
        wrongs.push(`journal verify: ${JSON.stringify(verdict).slice(0, 1000)}`);
    }
    yield {
      round,
      point,
      readyMs: gateway.readyMs,
      answers: held.length,
      upstream: upstream.heads,
      begins: books.begins.length,
      crashed: books.ends.filter(({ outcome }) => outcome === 'crash').length,
      wrongs,
    };
  }
}

function databasePid({ dataDir }: Product): number | undefined {
  return readPidFile(path.join(dataDir, 'postgres'))?.pid;
}

/** @returns what of the promises does not hold, in sentences. */
export function compare(
  held: readonly Held[],
  upstream: { readonly heads: number; readonly models: readonly string[] },
  { begins, ends, rows }: Books,
): string[] {
  const wrongs: string[] = [];
  const attempt = (use: { callId: string; attempt: number }): string => `${use.callId} ${use.attempt}`;

  // No key was opened without its record: in number, and call by call.
  if (upstream.heads > begins.length)
    wrongs.push(`the provider saw ${upstream.heads} requests, and ${begins.length} uses began`);
  const begun = tally(begins.map(({ model }) => model ?? ''));
  for (const [model, count] of tally(upstream.models))
    if (count > (begun.get(model) ?? 0)) wrongs.push(`the provider saw ${model}, and no use of it began`);

  // Every begin has one end, every end one begin and one row.
  const ended = tally(ends.map(attempt));
  const started = tally(begins.map(attempt));
  for (const [use, count] of started)
    if (count !== 1 || ended.get(use) !== 1)
      wrongs.push(`${use}: ${count} begins, ${ended.get(use) ?? 0} ends`);
  for (const use of ended.keys()) if (!started.has(use)) wrongs.push(`${use} ended and never began`);
  const booked = tally(rows);
  const expected = tally(ends.map((end) => `${attempt(end)} ${end.outcome}`));
  for (const use of new Set([...booked.keys(), ...expected.keys()]))
    if (booked.get(use) !== expected.get(use))
      wrongs.push(`${use}: ${booked.get(use) ?? 0} usage rows, ${expected.get(use) ?? 0} ends`);

  // What a client holds is on record, once.
  const finals = new Map<string, string[]>();
  for (const { callId, final, receipt } of ends)
    if (final === true) finals.set(callId, [...(finals.get(callId) ?? []), receipt ?? '']);
  for (const answer of held) {
    const receipts = finals.get(answer.id) ?? [];
    if (answer.status !== 200) wrongs.push(`${answer.model} was answered by ${answer.status} ${answer.code}`);
    else if (receipts.length !== 1)
      wrongs.push(`${answer.id} is in a client's hands and in ${receipts.length} final ends`);
    else if (receipts[0] !== answer.receipt) wrongs.push(`${answer.id} has a receipt that is not its own`);
  }
  return wrongs;
}

function tally(texts: Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return counts;
}

/** A small generator (mulberry32), so that a failure can be run again. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
