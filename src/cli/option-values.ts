import type { Context } from './command.ts';
import { usageError } from './failure.ts';

/** What stands between commas, or null where the option was not given. */
export function entriesOf(context: Context, option: string): readonly string[] | null {
  const text = context.text(option);
  if (text === null) return null;
  return text
    .split(',')
    .map((entry) => entry.trim())
    .filter(Boolean);
}

export function wholeNumber(context: Context, option: string): number | null {
  const text = context.text(option);
  if (text === null) return null;
  if (!/^\d{1,9}$/.test(text))
    throw usageError(`--${option} must be a whole number.`, 'Give a number, such as 600.');
  return Number(text);
}

export function yesOrNo(context: Context, option: string): boolean | null {
  const text = context.text(option);
  if (text !== null && text !== 'yes' && text !== 'no')
    throw usageError(`--${option} is yes or no.`, `--${option} yes`);
  return text === null ? null : text === 'yes';
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const unitBytes: Readonly<Record<string, number>> = { B: 1, KB: 1e3, MB: 1e6, KiB: 1024, MiB: 1024 ** 2 };

/** `250ms`, `30s`, `10m`, `1h` in ms, or null: not such a text. */
export function durationMs(text: string): number | null {
  const [, count = '', unit = ''] = /^(\d{1,6})(ms|s|m|h)$/.exec(text) ?? [];
  return count === '' ? null : Number(count) * (unitMs[unit] ?? Number.NaN);
}

/** `500KB`, `10MB`, `10MiB` in bytes, or null: not such a text. */
export function sizeBytes(text: string): number | null {
  const [, count = '', unit = ''] = /^(\d{1,9})(B|KB|MB|KiB|MiB)$/.exec(text) ?? [];
  return count === '' ? null : Number(count) * (unitBytes[unit] ?? Number.NaN);
}
