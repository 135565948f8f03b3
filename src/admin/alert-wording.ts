import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import { isId } from '../ids.ts';
import { alertRules, type AlertRule, bounds } from './alert-rules.ts';

const subject = '(?:Key key|Token tok)_[0-9a-f]{32}';
const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;
const number = String.raw`\d{1,15}(?:\.\d)?`;

/** The sentences of alert-rules.ts, whatever their numbers. */
const sentences: Readonly<Record<AlertRule, RegExp>> = {
  'new-network': whole(
    `${subject} was used from a network that it had not been used from before: (?:once|${number} times), first at ${time}\\. (?:One network was|${number} networks were) known\\.`,
  ),
  rate: whole(
    `${subject} made ${number} calls in the hour from ${time}: usual are ${number} an hour, the mean of the ${number} hours with calls in the ${bounds.rateDays} days before\\.`,
  ),
  silence: whole(
    `${subject} was used at ${time} for the first time(?: in ${number} days; before that it was used|, ${number} days after it was made) at ${time}\\.`,
  ),
  refusals: whole(
    `${number} calls with ${subject} were refused in the hour from ${time}: ${number} [A-Z_]{1,40}(?:, ${number} [A-Z_]{1,40}){0,60}\\.(?: ${number} more of these codes stand in the journal as counts of the whole workspace\\.)?`,
  ),
};

/**
 * Is it put in our words, and nothing else in it? Who writes to the database can make the rules find what is not so, as they read it;
 * he shall not have sentences of his own signed and sent on.
 */
export function isOurAlert(
  row: Pick<
    Selectable<Schema['alerts']>,
    'id' | 'rule' | 'key_id' | 'token_id' | 'user_id' | 'explanation' | 'numbers' | 'acknowledged_by'
  >,
): boolean {
  const rule = alertRules.find((name) => name === row.rule);
  return (
    rule !== undefined &&
    sentences[rule].test(row.explanation) &&
    isId('alert', row.id) &&
    isId('usr', row.user_id) &&
    (row.key_id === null || isId('key', row.key_id)) &&
    (row.token_id === null || isId('tok', row.token_id)) &&
    (row.acknowledged_by === null || isId('usr', row.acknowledged_by)) &&
    Object.entries(row.numbers).every(([name, value]) => /^[a-zA-Z]{1,20}$/.test(name) && isPlain(value))
  );
}

/** A number, or a keyed hash. */
function isPlain(value: unknown): boolean {
  return typeof value === 'number' || (typeof value === 'string' && /^[0-9a-f]{8,64}$/.test(value));
}

function whole(pattern: string): RegExp {
  return new RegExp(`^${pattern}$`);
}
