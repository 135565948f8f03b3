/** Decoding stops here: a path that still changes is an attempt at hiding something. */
const maxRounds = 4;

/**
 * The segments of a path as the most lenient server would read them: without query, percent-decoded until nothing changes,
 * backslashes as slashes, no empty or dot segments, no `;parameters`, lower case. For deciding only, never for sending.
 */
export function canonicalSegments(path: string): readonly string[] {
  let text = path.replace(/[?#].*$/s, '');
  for (let round = 0; round < maxRounds && text.includes('%'); round += 1) {
    const decoded = text.replace(/%([0-9a-f]{2})/gi, (_match, hex: string) =>
      String.fromCharCode(parseInt(hex, 16)),
    );
    if (decoded === text) break;
    text = decoded;
  }
  const segments: string[] = [];
  for (const raw of text.toLowerCase().split(/[/\\]+/)) {
    // A query or fragment that was hidden by encoding still hides nothing before it.
    const segment = raw.replace(/[;?#].*$/s, '').replace(/[^!-~\u0080-\uffff]/g, '');
    if (segment === '..') segments.pop();
    else if (segment !== '' && segment !== '.') segments.push(segment);
  }
  return segments;
}

/** The segments after the API version (`v1`, `v1beta`), or all of them: what endpoints are named by. */
export function endpointSegments(path: string): readonly string[] {
  const segments = canonicalSegments(path);
  const version = segments.findIndex((segment) => /^v\d+(?:alpha|beta)?\d*$/.test(segment));
  return version < 0 ? segments : segments.slice(version + 1);
}
