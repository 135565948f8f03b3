/** In the samples' units. */
export interface Slope {
  readonly rise: number;
  /** Its standard error. */
  readonly error: number;
}

/** The straight line of least squares. Null: fewer than three points. */
export function slopeOf(points: readonly (readonly [number, number])[]): Slope | null {
  if (points.length < 3) return null;
  const [middle, level] = [mean(points.map(([at]) => at)), mean(points.map(([, value]) => value))];
  const width = sum(points.map(([at]) => (at - middle) ** 2));
  const rise = sum(points.map(([at, value]) => (at - middle) * (value - level))) / width;
  const left = sum(points.map(([at, value]) => (value - level - rise * (at - middle)) ** 2));
  return { rise, error: Math.sqrt(left / (points.length - 2) / width) };
}

/**
 * The straight line through what a process comes down to, and how sure it is. A heap grows and is collected all the
 * time: of each of `blocks` stretches of equal length the lowest sample counts. Neighbouring samples say nearly the same, too, and all
 * of them would make the error too small. Null: fewer than three stretches have a sample.
 *
 * @param samples time and value, in the order of time
 */
export function floorSlopeOf(samples: readonly (readonly [number, number])[], blocks: number): Slope | null {
  return slopeOf(floorsOf(samples, blocks));
}

function floorsOf(
  samples: readonly (readonly [number, number])[],
  blocks: number,
): (readonly [number, number])[] {
  const first = samples[0]?.[0] ?? 0;
  const length = ((samples.at(-1)?.[0] ?? 0) - first) / blocks;
  const groups = Object.groupBy(samples, ([at]) => Math.min(blocks - 1, Math.floor((at - first) / length)));
  return Object.values(groups).map((group = []) =>
    group.reduce((lowest, sample) => (sample[1] < lowest[1] ? sample : lowest)),
  );
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function mean(values: readonly number[]): number {
  return sum(values) / values.length;
}
