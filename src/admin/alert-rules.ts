/** What may look unusual. docs/alerts.md says each in words. */
export const alertRules = ['new-network', 'rate', 'silence', 'refusals'] as const;
export type AlertRule = (typeof alertRules)[number];

/** A key, or a token. */
export interface Subject {
  readonly id: string;
  readonly kind: 'key' | 'token';
  readonly workspaceId: string;
  /** Whose it is. */
  readonly userId: string;
}

export interface Finding {
  readonly rule: AlertRule;
  readonly subject: Subject;
  readonly at: Date;
  /**
   * A sentence for people, with the numbers. Ids only: names change, and are nobody's business in a log. In words that alert-wording.ts
   * knows: others are not sent.
   */
  readonly explanation: string;
  readonly numbers: Readonly<Record<string, number | string>>;
}

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

export const bounds = {
  /** What is older is learnt and not told: nobody can do anything about it any more. */
  oldestMs: 2 * dayMs,
  rateFactor: 10,
  rateDays: 14,
  /** Below, ten times the usual is still nothing: 1 → 10 is no alert. */
  rateLeastCalls: 100,
  /** Hours with calls before; a key of yesterday has nothing usual yet. */
  rateLeastHours: 6,
  silenceMs: 30 * dayMs,
  refusals: 50,
} as const;

/** Uses of a subject from one network, of a stretch of the journal. */
export interface NetworkUse {
  readonly subject: Subject;
  /** Keyed hash of the /24 or /48. */
  readonly network: string;
  readonly firstAt: Date;
  readonly count: number;
}

/**
 * A key that all but its owner use with tokens of their own, is told of by the key; where the token's alert goes to the same person, one
 * is enough.
 *
 * @param known networks by subject; one that has none yet learns its first and says nothing.
 */
export function newNetworks(
  uses: readonly NetworkUse[],
  known: ReadonlyMap<string, ReadonlySet<string>>,
): Finding[] {
  const seen = new Map([...known].map(([id, networks]) => [id, new Set(networks)]));
  const told = new Set<string>();
  const inOrder = uses.toSorted(
    (a, b) => a.firstAt.getTime() - b.firstAt.getTime() || (a.subject.kind > b.subject.kind ? -1 : 1),
  );
  // Tokens first, so that the key's echo is known as one.
  const byKind = [...inOrder.filter(isToken), ...inOrder.filter((use) => !isToken(use))];
  return byKind.flatMap((use) => {
    const { subject, network, firstAt, count } = use;
    const networks = seen.getOrInsertComputed(subject.id, () => new Set<string>());
    if (networks.has(network)) return [];
    const before = networks.size;
    networks.add(network);
    if (before === 0) return [];
    const name = `${subject.userId} ${network}`;
    if (subject.kind === 'key' && told.has(name)) return [];
    if (subject.kind === 'token') told.add(name);
    return [
      {
        rule: 'new-network' as const,
        subject,
        at: firstAt,
        explanation: `${called(subject)} was used from a network that it had not been used from before: ${times(count)}, first at ${firstAt.toISOString()}. ${before === 1 ? 'One network was' : `${before} networks were`} known.`,
        numbers: { network, uses: count, knownNetworks: before },
      },
    ];
  });
}

const isToken = ({ subject }: NetworkUse): boolean => subject.kind === 'token';

export interface HourOfCalls {
  readonly subject: Subject;
  readonly hour: Date;
  readonly calls: number;
  /** Of the 14 days before. */
  readonly callsBefore: number;
  readonly hoursWithCalls: number;
}

/** Against the mean of the hours in which the key was used at all: what runs once a night is no alarm every night. */
export function unusualRate({
  subject,
  hour,
  calls,
  callsBefore,
  hoursWithCalls,
}: HourOfCalls): Finding | null {
  if (calls < bounds.rateLeastCalls || hoursWithCalls < bounds.rateLeastHours) return null;
  const usual = callsBefore / hoursWithCalls;
  if (calls < bounds.rateFactor * usual) return null;
  const shown = Math.round(usual * 10) / 10;
  return {
    rule: 'rate',
    subject,
    at: hour,
    explanation: `${called(subject)} made ${calls} calls in the hour from ${hour.toISOString()}: usual are ${shown} an hour, the mean of the ${hoursWithCalls} hours with calls in the ${bounds.rateDays} days before.`,
    numbers: { calls, usualCalls: shown, hoursWithCalls },
  };
}

export interface Return {
  readonly subject: Subject;
  readonly at: Date;
  /** Its last use before, else when it was made. */
  readonly since: Date;
  readonly wasUsed: boolean;
}

export function afterSilence({ subject, at, since, wasUsed }: Return): Finding | null {
  const silentMs = at.getTime() - since.getTime();
  if (silentMs < bounds.silenceMs) return null;
  const days = Math.floor(silentMs / dayMs);
  const before = wasUsed
    ? `for the first time in ${days} days; before that it was used at ${since.toISOString()}`
    : `for the first time, ${days} days after it was made at ${since.toISOString()}`;
  return {
    rule: 'silence',
    subject,
    at,
    explanation: `${called(subject)} was used at ${at.toISOString()} ${before}.`,
    numbers: { days },
  };
}

export interface Refused {
  readonly subject: Subject;
  readonly hour: Date;
  readonly byCode: Readonly<Record<string, number>>;
  /** Of the same codes in this workspace and hour, whose tokens the journal does not say: it counts them together. */
  readonly summarized: number;
}

export function manyRefusals({ subject, hour, byCode, summarized }: Refused): Finding | null {
  const count = Object.values(byCode).reduce((sum, one) => sum + one, 0);
  if (count < bounds.refusals) return null;
  const codes = Object.entries(byCode)
    .toSorted(([, a], [, b]) => b - a)
    .map(([code, one]) => `${one} ${code}`)
    .join(', ');
  const more =
    summarized === 0
      ? ''
      : ` ${summarized} more of these codes stand in the journal as counts of the whole workspace.`;
  return {
    rule: 'refusals',
    subject,
    at: hour,
    explanation: `${count} calls with ${called(subject)} were refused in the hour from ${hour.toISOString()}: ${codes}.${more}`,
    numbers: { refusals: count, summarized },
  };
}

function called({ kind, id }: Subject): string {
  return `${kind === 'key' ? 'Key' : 'Token'} ${id}`;
}

function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
}
