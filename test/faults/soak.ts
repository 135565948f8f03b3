import t, { type Test } from 'tap';
import { collectGarbage } from '../support/garbage.ts';
import { allFaults } from './all-faults.ts';
import type { Fault } from './fault.ts';
import { setStage, type Stage } from './stage.ts';

const atOnce = 24;
/** Once in so many rounds. */
const heavyEvery = 50;

interface State {
  readonly handles: Readonly<Record<string, number>>;
  readonly heapBytes: number;
  /** Outside of the heap. */
  readonly bufferBytes: number;
}

/** Faults in one order, some of them beside each other; each round has every light one once. */
async function storm(stage: Stage, count: number, onPlayed: (fault: Fault, name: string | null) => void) {
  const light = allFaults.filter(({ isHeavy }) => isHeavy !== true);
  function* mixed(): Generator<Fault> {
    for (let n = 0, round = 0; n < count; round += 1) {
      const faults = round % heavyEvery === 0 ? allFaults : light;
      for (let i = 0; i < faults.length && n < count; i += 1, n += 1)
        // Another neighbour in each round.
        yield faults[(i + round * 11) % faults.length] as Fault;
    }
  }
  const rest = mixed();
  const player = async (): Promise<void> => {
    for (const fault of rest) {
      const { status, requests } = await stage.play(fault);
      const expected = fault.requests ?? fault.ends.length;
      const isAsItShould = requests === expected && status === (fault.sees?.status ?? status);
      onPlayed(fault, isAsItShould ? null : `${fault.name}: ${status}, ${requests} of ${expected} requests`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, player));
}

async function stateOf({ gateway, idle }: Pick<Stage, 'gateway' | 'idle'>): Promise<State> {
  await gateway.shipped();
  await idle();
  // What waits for a later turn to be let go has several.
  for (let n = 0; n < 5; n += 1) {
    collectGarbage();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const handles: Record<string, number> = {};
  for (const name of process.getActiveResourcesInfo()) {
    // Connections to the database come and go as its pool likes.
    if (/^(?:PipeWrap|Immediate)$/.test(name)) continue;
    handles[name] = (handles[name] ?? 0) + 1;
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return { handles, heapBytes: heapUsed, bufferBytes: arrayBuffers };
}

/** @param warmUp faults before the first look: caches fill, and what the test itself keeps of answers has its bound. */
export async function soak(t: Test, warmUp: number, count: number, mostBytesEach: number): Promise<void> {
  const stage = await setStage(t, { timeouts: { firstByteMs: 5000, betweenBytesMs: 5000 } });
  const wrong: string[] = [];
  let attempts = 0;
  const note = (fault: Fault, what: string | null): void => {
    attempts += fault.ends.length;
    if (what !== null) wrong.push(what);
  };
  await storm(stage, warmUp, note);
  const before = await stateOf(stage);
  const at = performance.now();
  await storm(stage, count, note);
  const seconds = (performance.now() - at) / 1000;
  const after = await stateOf(stage);
  t.same(wrong.slice(0, 5), [], 'each call saw what it should, and the provider as many requests');
  const { Timeout: clocksBefore = 0, ...handlesBefore } = before.handles;
  const { Timeout: clocks = 0, ...handles } = after.handles;
  t.same(handles, handlesBefore, 'handles');
  // Batches of the gateway's own wait for their time at one moment and not at another.
  t.ok(clocks <= clocksBefore + 5, `${clocksBefore} and then ${clocks} clocks run`);
  const grown = after.heapBytes - before.heapBytes;
  const buffers = after.bufferBytes - before.bufferBytes;
  t.comment(
    `${count} faults in ${seconds.toFixed(1)} s; heap ${before.heapBytes} and ${grown} more, buffers ${before.bufferBytes} and ${buffers} more; ${JSON.stringify(after.handles)}`,
  );
  t.ok(grown < count * mostBytesEach, `${grown} bytes of heap`);
  t.ok(buffers < count * mostBytesEach, `${buffers} bytes of buffers`);
  const { body } = await stage.gateway.api('GET', '/usage');
  t.equal(body.totals.attempts, attempts, 'one end an attempt');
  t.equal(body.totals.calls, warmUp + count);
  t.equal(stage.gateway.app.dataPlane.gateway.callsInFlight(), 0);
}

if (import.meta.main) {
  const count = Number(process.argv[2] ?? 10_000);
  t.setTimeout(3_600_000);
  t.test(`${count} faults leave nothing`, (t) => soak(t, Math.min(count, 4000), count, 200));
}
