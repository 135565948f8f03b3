/**
 * The names that a log line may carry. Everything else is dropped, so an object handed over whole (a request, a config, an
 * error of a client library) leaks nothing. Values are numbers, booleans, null and short strings; what is not becomes one.
 */
const names = [
  'actId',
  'address',
  'adopted',
  'applied',
  'attempt',
  'attempts',
  'bytes',
  'callId',
  'checks',
  'code',
  'count',
  'dataDir',
  'daysLeft',
  'detail',
  'durationMs',
  'endReason',
  'error',
  'file',
  'fingerprint',
  'firstByteMs',
  'fix',
  'gateClosed',
  'host',
  'keyId',
  'kind',
  'lagBytes',
  'lagRecords',
  'lagSeconds',
  'method',
  'migration',
  'model',
  'name',
  'node',
  'operation',
  'origin',
  'outcome',
  'pid',
  'path',
  'port',
  'problems',
  'provider',
  'reason',
  'receipt',
  'record',
  'records',
  'requestBytes',
  'requestId',
  'responseBytes',
  'retryAfter',
  'route',
  'seq',
  'signal',
  'source',
  'status',
  'stream',
  'tokenId',
  'totalMs',
  'upstreamRequestId',
  'userId',
  'version',
  'workspaceId',
] as const;

const allowed: ReadonlySet<string> = new Set(names);

export type LogFields = { readonly [K in (typeof names)[number]]?: unknown };

const maxText = 1000;
const maxStack = 4000;
const maxItems = 20;

/** Log-ready copy of the allow-listed members of `fields`. Never throws, whatever the members are. */
export function pickFields(fields: LogFields): Record<string, unknown> {
  const picked: Record<string, unknown> = {};
  // By what is there, a dozen, and not by all that there could be: 0.2 µs a line instead of 0.7.
  for (const name of Object.keys(fields) as (keyof LogFields)[]) {
    if (!allowed.has(name)) continue;
    try {
      const value = fields[name];
      if (value !== undefined) picked[name] = plain(value, true);
    } catch {
      picked[name] = '[unreadable]';
    }
  }
  return picked;
}

function plain(value: unknown, isOuter: boolean): unknown {
  switch (typeof value) {
    case 'string':
      return clip(value, maxText);
    case 'number':
      return Number.isFinite(value) ? value : String(value);
    case 'boolean':
      return value;
    case 'bigint':
      return clip(value.toString(), maxText);
    case 'object':
      if (value === null) return null;
      return isOuter ? describe(value) : '[object]';
    default:
      return `[${typeof value}]`;
  }
}

/** Bytes may be a key and a URL may carry one, so neither is shown: the size, or the origin, has to do. */
function describe(value: object): unknown {
  if (value instanceof Error) {
    const described = describeError(value);
    return value.cause instanceof Error ? { ...described, cause: describeError(value.cause) } : described;
  }
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (value instanceof URL) return value.origin;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? '[no date]' : value.toISOString();
  if (Array.isArray(value)) return value.slice(0, maxItems).map((item) => plain(item, false));
  return '[object]';
}

function describeError(error: Error): Record<string, unknown> {
  const members = error as Error & { readonly code?: unknown };
  const described: Record<string, unknown> = {};
  for (const name of ['name', 'code', 'message', 'stack'] as const) {
    try {
      const value = members[name];
      if (typeof value === 'string') described[name] = clip(value, name === 'stack' ? maxStack : maxText);
      else if (typeof value === 'number') described[name] = value;
    } catch {
      described[name] = '[unreadable]';
    }
  }
  return described;
}

function clip(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length)}… (${text.length} characters)`;
}
