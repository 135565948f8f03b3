import type { KeyView } from '../admin/key-view.ts';
import type { Command } from './command.ts';
import { exits } from './failure.ts';
import { idOf } from './named-id.ts';
import { wholeNumber } from './option-values.ts';
import { demandChange, given, givenOrNone } from './people.ts';
import { fieldList } from './text-table.ts';

const show: Command = {
  words: 'keys show',
  doc: 'Show all that is known of a key; never its value.',
  argument: 'ID',
  options: {},
  async run(context) {
    const id = idOf('key', context.argument);
    const api = await context.api();
    const key = await api.call<KeyView>('GET', `/api/api-keys/${id}`);
    context.print(key, textOf(key));
    return exits.ok;
  },
};

const update: Command = {
  words: 'keys update',
  doc: 'Change what is said of a key; what is left out stays. Its value: keys replace.',
  argument: 'ID',
  options: {
    name: { value: 'NAME', doc: 'what to call it; for custom the segment under /custom/' },
    description: { value: 'TEXT', doc: 'what it is for; none takes it away' },
    expires: { value: 'TIME', doc: 'RFC 3339: 2027-12-31T23:59:59Z, or none' },
    weight: { value: 'N', doc: '0 to 1000: its part of the calls among your keys of one provider' },
    'rotate-after-days': { value: 'N', doc: 'remind after so many days of a new value; 0: never' },
  },
  async run(context) {
    const days = wholeNumber(context, 'rotate-after-days');
    const change = {
      ...given('name', context.text('name')),
      ...givenOrNone(context, 'description', 'description'),
      ...givenOrNone(context, 'expiresAt', 'expires'),
      ...given('weight', wholeNumber(context, 'weight')),
      ...(days === null ? {} : { rotateAfterDays: days === 0 ? null : days }),
    };
    demandChange(change, 'bin/sallyport keys update --help');
    const id = idOf('key', context.argument);
    const api = await context.api();
    const key = await api.call<KeyView>('PATCH', `/api/api-keys/${id}`, change);
    context.print(key, textOf(key));
    return exits.ok;
  },
};

export const keyEditCommands: readonly Command[] = [show, update];

function textOf(key: KeyView): string {
  const { sharedWith, lastTest } = key;
  return fieldList({
    id: key.id,
    name: key.name,
    description: key.description,
    provider: key.provider,
    'goes to': key.origins.map((origin) => origin + key.basePath).join(' '),
    ends: key.last4 === null ? null : `…${key.last4}`,
    version: key.version,
    status: key.status,
    protection: key.sealId === null ? key.protection : `sealed to ${key.sealId}`,
    user: key.userId,
    source: key.source,
    'shared with': typeof sharedWith === 'string' ? `the ${sharedWith}` : (sharedWith?.join(' ') ?? 'nobody'),
    weight: key.weight,
    expires: key.expiresAt,
    'rotation due': key.rotationDueAt,
    'last used': key.lastUsedAt,
    'last test': lastTest === null ? null : `${lastTest.testedAt} ${lastTest.code ?? 'ok'}`,
    'same value as': key.duplicates.join(' ') || null,
    made: key.createdAt,
  });
}
