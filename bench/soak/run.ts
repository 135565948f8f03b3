import { pathToFileURL } from 'node:url';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { startGatewayProcess, type GatewayProcess } from '../gateway-process.ts';
import { stateOf, type ProcessState } from '../process-state.ts';
import { floorSlopeOf, slopeOf, type Slope } from '../slope.ts';
import { startTraffic, type Traffic } from './traffic.ts';
import { startSoakUpstream, type SoakUpstream } from './upstream.ts';

export interface SoakOptions {
  readonly minutes: number;
  readonly clients: number;
  /** Of Node.js in the gateway, as NODE_OPTIONS. */
  readonly nodeOptions: string;
  readonly key: string;
  /** For the gateway's data and log. */
  readonly folder: string;
  readonly random: () => number;
  readonly say: (line: string) => void;
}

export interface SoakResult {
  readonly minutes: number;
  readonly calls: Traffic['calls'];
  readonly wrong: Traffic['wrong'];
  /** After the start, before any call. */
  readonly idle: ProcessState;
  /** At rest after the warm-up and after everything. */
  readonly before: ProcessState;
  readonly after: ProcessState;
  readonly peakRssBytes: number;
  /** Of the RSS after the warm-up, MB (1e6 bytes) an hour: of `rests` where there are enough, else of the lowest of each stretch of `samples`. */
  readonly slope: Slope | null;
  readonly isOfRests: boolean;
  /** Hours and MB, each second after the warm-up. */
  readonly samples: readonly Sample[];
  /** The same once a minute, with no call under way, all shipped and all garbage collected. */
  readonly rests: readonly Sample[];
}

type Sample = readonly [number, number];

/** Of the time; caches fill, code is compiled and the heap finds its size. */
const warmUpShare = 1 / 3;
/** Of what follows: at rest the heap gave back what it takes again now. */
const againShare = 1 / 10;
const sampleMs = 1000;
const restEveryMs = 60_000;
/** For a straight line; shorter soaks have none. */
const fewestRests = 8;
/** After garbage was collected: what is freed is given back a moment later. */
const givenBackMs = 2000;
/** Each about a minute of the long form. */
const blocks = 18;
const restMs = 90_000;
/** Nothing is closed for so long: longer than the database's pool keeps an idle connection. */
const calmMs = 15_000;
const pauseMs = 150;

const collector = pathToFileURL(path.join(import.meta.dirname, 'collector.ts')).href;

export async function soak(options: SoakOptions): Promise<SoakResult> {
  const { folder, key, nodeOptions, say } = options;
  const upstream = await startSoakUpstream(key);
  const settings = {
    SALLYPORT_OPENAI_ORIGIN: upstream.origin,
    // Calls that stall are ended while the soak goes on.
    UPSTREAM_TIMEOUTS: 'openai.firstByte=3s',
    NODE_OPTIONS: `--import=${collector} ${nodeOptions}`,
  };
  try {
    const gateway = await startGatewayProcess({ place: 'anywhere', name: 'soak', folder, key, settings });
    say(`the gateway is process ${gateway.pid}`);
    try {
      return await measure(gateway, upstream, options);
    } finally {
      await gateway.stop();
    }
  } finally {
    upstream.close();
  }
}

interface Look {
  onSample(sample: Sample): void;
  onRest(sample: Sample): void;
}

async function measure(
  gateway: GatewayProcess,
  upstream: SoakUpstream,
  { minutes, clients, random, say }: SoakOptions,
): Promise<SoakResult> {
  const state = (): ProcessState => {
    const seen = stateOf(gateway.pid);
    if (seen === null) throw new Error('the gateway ended, or there is no /proc');
    return seen;
  };
  const drive = async (seconds: number, look: Look): Promise<Traffic> => {
    const traffic = startTraffic(gateway, { clients, pauseMs, random });
    const start = performance.now();
    const hours = (): number => (performance.now() - start) / 3_600_000;
    let rested = start;
    for (let now = start; now < start + seconds * 1000; now = performance.now()) {
      await pause(Math.min(sampleMs, start + seconds * 1000 - now));
      look.onSample([hours(), state().rssBytes / 1e6]);
      if (performance.now() - rested < restEveryMs) continue;
      rested = performance.now();
      await traffic.hold();
      await gateway.settled();
      process.kill(gateway.pid, 'SIGUSR2');
      await pause(givenBackMs);
      const { rssBytes, handles } = state();
      look.onRest([hours(), rssBytes / 1e6]);
      traffic.goOn();
      const calls = Object.values(traffic.calls).reduce((sum, count) => sum + count, 0);
      say(
        `${Math.round((rested - start) / 60_000)} min: ${calls} calls, ${mega(rssBytes)} at rest, ${handles} handles`,
      );
    }
    await traffic.stop();
    upstream.rest();
    await gateway.settled();
    return traffic;
  };

  const idle = state();
  const seconds = minutes * 60;
  await drive(seconds * warmUpShare, { onSample() {}, onRest() {} });
  const before = await resting(state, Math.min(calmMs, (seconds * 1000) / 5), null);
  say(`warm: ${mega(before.rssBytes)}, ${before.handles} handles at rest`);
  const samples: Sample[] = [];
  const rests: Sample[] = [];
  const { calls, wrong } = await drive(seconds * (1 - warmUpShare), {
    onSample: (sample) => void samples.push(sample),
    onRest: (sample) => void rests.push(sample),
  });
  const after = await resting(state, calmMs, before.handles);
  const isOfRests = rests.length >= fewestRests;
  return {
    minutes,
    calls,
    wrong,
    idle,
    before,
    after,
    peakRssBytes: samples.reduce((most, [, rss]) => Math.max(most, rss * 1e6), 0),
    isOfRests,
    slope: isOfRests
      ? slopeOf(rests)
      : floorSlopeOf(
          samples.filter(([at]) => at > (minutes / 60) * (1 - warmUpShare) * againShare),
          blocks,
        ),
    samples,
    rests,
  };
}

/** When there are no more handles than `wanted`, or nothing has been closed for `calm` ms. */
async function resting(
  state: () => ProcessState,
  calm: number,
  wanted: number | null,
): Promise<ProcessState> {
  let seen = state();
  let same = 0;
  for (const until = Date.now() + restMs; Date.now() < until;) {
    await pause(sampleMs);
    const now = state();
    same = now.handles < seen.handles ? 0 : same + sampleMs;
    seen = now;
    if (wanted === null ? same >= calm : seen.handles <= wanted) break;
  }
  return seen;
}

export function mega(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
