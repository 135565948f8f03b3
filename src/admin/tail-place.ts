/**
 * Where a tail is: by stream the next record. The table of the journal has no order of its own (nodes ship when they can), so a place names
 * every stream that may still grow; what it does not name was either read to its end or has begun since.
 */
export interface TailPlace {
  /** ms since the epoch: when the streams were looked at. */
  readonly at: number;
  readonly next: ReadonlyMap<string, number>;
}

/** Of the header `last-event-id`; Node takes 16 KiB of all headers. */
const maxTextLength = 12_000;
const shape = /^[0-9a-z]{1,10}(?:;[A-Za-z0-9_-]{1,80}:[A-Za-z0-9_-]{1,80}=\d{1,15})*$/;

/** `<at in base 36>;<stream>=<next seq>;…`: what receipts have too. */
export function placeText({ at, next }: TailPlace): string {
  let text = at.toString(36);
  for (const [stream, seq] of next) text += `;${stream}=${seq}`;
  return text;
}

/** Null: not one of ours. */
export function readPlace(text: string): TailPlace | null {
  if (text.length > maxTextLength || !shape.test(text)) return null;
  const [at = '', ...streams] = text.split(';');
  const next = new Map(
    streams.map((one): [string, number] => {
      const cut = one.lastIndexOf('=');
      return [one.slice(0, cut), Number(one.slice(cut + 1))];
    }),
  );
  return { at: Number.parseInt(at, 36), next };
}
