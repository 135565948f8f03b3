let second = Number.NaN;
let start = '';

/** RFC 3339 in UTC with ms, of whole ms since the epoch. Three of them a call share a second: making a date of each took 1 µs a call. */
export function isoTime(ms: number): string {
  const now = Math.floor(ms / 1000);
  if (now !== second) {
    start = new Date(now * 1000).toISOString().slice(0, -4);
    second = now;
  }
  return `${start}${String(Math.trunc(ms - now * 1000)).padStart(3, '0')}Z`;
}
