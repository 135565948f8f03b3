import type { Context, Option } from './command.ts';
import { usageError } from './failure.ts';
import { durationMs, entriesOf, sizeBytes, wholeNumber } from './option-values.ts';
import { given } from './people.ts';

/** How a token's calls are carried, as options of `tokens create` and `tokens update`. */
export const policyOptions: Readonly<Record<string, Option>> = {
  'fallback-models': { value: 'LIST', doc: 'tried in order when every key of the model asked for fails' },
  'max-attempts': { value: 'N', doc: '1 to 10 attempts a call, all targets together' },
  'no-retry-stale': { value: null, doc: 'never send again what a dead connection may have delivered' },
  timeouts: {
    value: 'LIST',
    doc: 'connect=5s,first-byte=2m,between-bytes=1m,total=10m,write-idle=1m, or some of them',
  },
  'on-disconnect': {
    value: 'HOW',
    doc: 'abort, or drain:30s,10MB to read on for the usage when a client leaves',
  },
};

const timeoutNames: Readonly<Record<string, string>> = {
  connect: 'connectMs',
  'first-byte': 'firstByteMs',
  'between-bytes': 'betweenBytesMs',
  total: 'totalMs',
  'write-idle': 'writeIdleMs',
};

/** The member `policy`, or null where no option says anything of it. */
export function policyOf(context: Context): Readonly<Record<string, unknown>> | null {
  const policy = {
    ...given(
      'fallbackModels',
      isNone(context, 'fallback-models') ? [] : entriesOf(context, 'fallback-models'),
    ),
    ...given('maxAttempts', wholeNumber(context, 'max-attempts')),
    ...given('retryStale', context.has('no-retry-stale') ? false : context.has('retry-stale') ? true : null),
    ...given('timeouts', timeoutsOf(context)),
    ...given('onDisconnect', onDisconnectOf(context)),
  };
  return Object.keys(policy).length === 0 ? null : policy;
}

/** What a token has is taken away; a new one has none anyway. */
function isNone(context: Context, option: string): boolean {
  return context.text(option) === 'none';
}

function timeoutsOf(context: Context): Readonly<Record<string, number | null>> | null {
  if (isNone(context, 'timeouts'))
    return Object.fromEntries(Object.values(timeoutNames).map((member) => [member, null]));
  const entries = entriesOf(context, 'timeouts');
  if (entries === null) return null;
  return Object.fromEntries(
    entries.map((entry) => {
      const [name = '', text = ''] = entry.split('=');
      const member = Object.hasOwn(timeoutNames, name) ? timeoutNames[name] : undefined;
      const ms = durationMs(text);
      if (member === undefined || ms === null) {
        throw usageError(
          `--timeouts is NAME=TIME with a NAME of ${Object.keys(timeoutNames).join(', ')}.`,
          'Give times with their unit: --timeouts connect=5s,total=10m',
        );
      }
      return [member, ms];
    }),
  );
}

function onDisconnectOf(context: Context): Readonly<Record<string, unknown>> | null {
  const text = context.text('on-disconnect');
  if (text === null || text === 'abort') return text === null ? null : { type: 'abort' };
  const [, time = '', size = ''] = /^drain:([^,]+),(.+)$/.exec(text) ?? [];
  const [ms, maxBytes] = [durationMs(time), sizeBytes(size)];
  if (text !== 'drain' && (ms === null || maxBytes === null || ms % 1000 !== 0)) {
    throw usageError(
      '--on-disconnect is abort, drain, or drain:TIME,SIZE.',
      '--on-disconnect drain:30s,10MB',
    );
  }
  return {
    type: 'drain',
    ...given('maxSeconds', ms === null ? null : ms / 1000),
    ...given('maxBytes', maxBytes),
  };
}
