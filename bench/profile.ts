/**
 * Where the time of a CPU profile went, the start left out: the functions by self time, then the rooms and packages that they stand
 * in. argv: the file, how many lines (25), how many seconds of the start to leave out (10).
 */
import { readFileSync } from 'node:fs';

interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: {
      readonly functionName: string;
      readonly url: string;
      readonly lineNumber: number;
    };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const [, , file = '', count = '25', startSeconds = '10'] = process.argv;
const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(file, 'utf8')) as Profile;
const places = new Map(
  nodes.map(({ id, callFrame }) => {
    const { functionName, url, lineNumber } = callFrame;
    const path = url.replace(/^.*\/(?=(src|node_modules)\/)/, '');
    return [
      id,
      {
        what: `${functionName || '(anonymous)'}  ${path}${url === '' ? '' : `:${lineNumber + 1}`}`,
        room: roomOf(path),
      },
    ];
  }),
);
const byFunction = new Map<string, number>();
const byRoom = new Map<string, number>();
let busy = 0;
let seconds = 0;
samples.forEach((id, i) => {
  seconds += (timeDeltas[i] ?? 0) / 1e6;
  if (seconds < Number(startSeconds)) return;
  const place = places.get(id);
  if (place === undefined || place.what.startsWith('(idle)')) return;
  const delta = Math.max(0, timeDeltas[i + 1] ?? 0);
  busy += delta;
  byFunction.set(place.what, (byFunction.get(place.what) ?? 0) + delta);
  byRoom.set(place.room, (byRoom.get(place.room) ?? 0) + delta);
});
print(byFunction, Number(count));
process.stdout.write('\n');
print(byRoom, Number(count));

function print(times: ReadonlyMap<string, number>, limit: number): void {
  const sorted = [...times].toSorted(([, a], [, b]) => b - a).slice(0, limit);
  for (const [what, time] of sorted)
    process.stdout.write(`${((time / busy) * 100).toFixed(1).padStart(5)} %  ${what}\n`);
}

/** `src/gateway`, `node_modules/undici`, `node:http` or V8 itself. */
function roomOf(path: string): string {
  if (path === '') return '(native)';
  const parts = path.split('/');
  return path.startsWith('node:')
    ? path
    : parts.slice(0, parts[1]?.startsWith('@') === true ? 3 : 2).join('/');
}
