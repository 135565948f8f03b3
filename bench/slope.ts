/** In the samples' units. */
export interface Slope {
  readonly rise: number;
  /** Its standard error. */
  readonly error: number;
}

/**
 * The straight line of least squares through (time, value) and how sure it is. Neighbouring samples of a process say nearly the same
 * and would make the error too small, so they go in as the means of `blocks` stretches of equal length. Null: fewer than three
 * stretches have a sample.
 */
export function slopeOf(samples: readonly (readonly [number, number])[], blocks: number): Slope | null {
  const points = blockMeans(samples, blocks);
  if (points.length < 3) return null;
  const [middle, level] = [mean(points.map(([at]) => at)), mean(points.map(([, value]) => value))];
  const width = sum(points.map(([at]) => (at - middle) ** 2));
  const rise = sum(points.map(([at, value]) => (at - middle) * (value - level))) / width;
  const left = sum(points.map(([at, value]) => (value - level - rise * (at - middle)) ** 2));
  return { rise, error: Math.sqrt(left / (points.length - 2) / width) };
}

function blockMeans(samples: readonly (readonly [number, number])[], blocks: number): [number, number][] {
  const first = samples[0]?.[0] ?? 0;
  const length = ((samples.at(-1)?.[0] ?? 0) - first) / blocks;
  const groups = Object.groupBy(samples, ([at]) => Math.min(blocks - 1, Math.floor((at - first) / length)));
  return Object.values(groups).map((group = []) => [
    mean(group.map(([at]) => at)),
    mean(group.map(([, value]) => value)),
  ]);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function mean(values: readonly number[]): number {
  return sum(values) / values.length;
}
