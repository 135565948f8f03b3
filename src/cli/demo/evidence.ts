import type { Bill } from './stand-in.ts';

/** What a step found: a sentence for the reader, and whether it is as promised. */
export interface Finding {
  readonly ok: boolean;
  readonly detail: string;
}

export function judgeCredentials(
  credentials: readonly string[],
  key: string,
  hasSeenToken: boolean,
): Finding {
  const right = credentials.filter((text) => text === `Bearer ${key}`).length;
  if (hasSeenToken) return { ok: false, detail: 'the gateway token reached the provider' };
  const ok = right > 0 && right === credentials.length;
  return {
    ok,
    detail: `${right} of ${credentials.length} requests bore the stored key; the token never arrived`,
  };
}

/** Buffered answers arrive at once, at the end: the first chunk must be here before the last one left. */
export function judgeSpread(
  arrivals: readonly number[],
  sent: { readonly spanMs: number; readonly lastAt: number },
): Finding {
  const [first = Infinity, last = 0] = [arrivals[0], arrivals.at(-1)];
  const spanMs = last - first;
  const ok = arrivals.length > 10 && first < sent.lastAt - sent.spanMs / 2 && spanMs > sent.spanMs / 2;
  return {
    ok,
    detail: `${arrivals.length} chunks over ${Math.round(spanMs)} ms, sent over ${Math.round(sent.spanMs)} ms`,
  };
}

export function judgeUsage(totals: Readonly<Record<string, unknown>>, bill: Readonly<Bill>): Finding {
  const names = ['calls', 'inputTokens', 'cachedInputTokens', 'outputTokens'] as const;
  const wrong = names.filter((name) => totals[name] !== bill[name]);
  if (wrong.length > 0) {
    return {
      ok: false,
      detail: wrong.map((name) => `${name}: ${String(totals[name])}, billed ${bill[name]}`).join('; '),
    };
  }
  return {
    ok: true,
    detail: `${bill.calls} calls, ${bill.inputTokens} tokens in (${bill.cachedInputTokens} cached), ${bill.outputTokens} out`,
  };
}

export function judgeMetrics(text: string, bill: Readonly<Bill>): Finding {
  const seen = {
    calls: sumOf(text, 'sallyport_calls_total', 'outcome="ok"'),
    inputTokens: sumOf(text, 'sallyport_tokens_total', 'type="input"'),
    cachedInputTokens: sumOf(text, 'sallyport_tokens_total', 'type="cached_input"'),
    outputTokens: sumOf(text, 'sallyport_tokens_total', 'type="output"'),
  };
  const found = judgeUsage(seen, bill);
  return found.ok ? { ok: true, detail: '/metrics counts the same calls and tokens' } : found;
}

function sumOf(text: string, name: string, label: string): number {
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) && line.includes(label))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

/** Where to change a byte of a journal file: a digit in the middle of its last record about the end of a use, or null. */
export function byteToChange(file: Buffer): number | null {
  const at = file.lastIndexOf('"event":"use.end"');
  if (at < 0) return null;
  const end = file.indexOf(0x0a, at);
  for (let i = at; i < end; i += 1) {
    const byte = file[i] ?? 0;
    if (byte >= 0x31 && byte <= 0x38) return i;
  }
  return null;
}
