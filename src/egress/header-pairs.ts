/** Header bytes as undici hands them over, as text: names in lower case, repeated ones as they came. */
export function headerPairs(raw: readonly Buffer[]): [string, string][] {
  const headers: [string, string][] = [];
  for (let i = 0; i + 1 < raw.length; i += 2)
    headers.push([
      (raw[i] as Buffer).toString('latin1').toLowerCase(),
      (raw[i + 1] as Buffer).toString('latin1'),
    ]);
  return headers;
}
