/** A key as its message tells of it. */
export interface ToldKey {
  /** As its owner named it; null for a key that came with the call. */
  readonly label: string | null;
  readonly provider: string;
  readonly last4: string | null;
  readonly fingerprint: string | null;
  /** Where a person revokes keys; null where nobody here knows. */
  readonly keyPage: string | null;
  readonly uses: number;
  readonly firstAt: Date | null;
  readonly lastAt: Date | null;
  /** He keeps it; else he used it. */
  readonly isOwn: boolean;
}

export interface BreachFacts {
  readonly discoveredAt: Date;
  readonly since: Date;
  readonly until: Date;
  /** The operator's own words; null: those below. */
  readonly what: string | null;
  readonly contact: string;
}

export interface BreachMessage {
  readonly subject: string;
  readonly text: string;
}

/** Of one message; the count of the rest stands below them. */
const mostKeys = 50;
const maxLabel = 80;

/** Plain text, whatever the labels hold: each is one line, and nothing in it is markup to a reader of plain text. */
export function breachMessage(facts: BreachFacts, keys: readonly ToldKey[]): BreachMessage {
  const own = keys.filter(({ isOwn }) => isOwn);
  const others = keys.filter(({ isOwn }) => !isOwn);
  const pages = [...new Set(own.flatMap(({ keyPage }) => keyPage ?? []))];
  const parts = [
    'You get this message because provider keys of yours, or that you used, are concerned by a security incident.',
    `What happened\n${facts.what ?? 'Somebody may have had access to provider keys that are kept in this gateway.'}`,
    `When\nBetween ${facts.since.toISOString()} and ${facts.until.toISOString()} (UTC). It was discovered at ${facts.discoveredAt.toISOString()}.`,
    ...(own.length === 0 ? [] : [`Your keys\n${list(own)}`]),
    ...(others.length === 0 ? [] : [`Keys of others that you used in that time\n${list(others)}`]),
    own.length === 0
      ? 'What to do\nThe owners of these keys are told to exchange them. Calls that you made with them stand in their records.'
      : [
          'What to do',
          '1. Revoke each of these keys at its provider, today. Until then whoever has it can use it.',
          ...pages.map((page) => `   ${page}`),
          '2. Make a new key there, and store it in place of the old one.',
          '3. Look at the provider’s usage page for calls that you did not make.',
        ].join('\n'),
    `Whom to ask\n${facts.contact}`,
  ];
  return { subject: 'Security notice about your provider keys', text: `${parts.join('\n\n')}\n` };
}

function list(keys: readonly ToldKey[]): string {
  const lines = keys.slice(0, mostKeys).map(line);
  return [...lines, ...(keys.length > mostKeys ? [`- and ${keys.length - mostKeys} more`] : [])].join('\n');
}

function line({ label, provider, last4, fingerprint, uses, firstAt, lastAt }: ToldKey): string {
  const name = label === null ? 'a key that came with your calls' : `"${plainLine(label)}"`;
  const marks = [
    plainLine(provider),
    ...(last4 === null ? [] : [`ends in ${plainLine(last4)}`]),
    ...(fingerprint === null ? [] : [`fingerprint ${plainLine(fingerprint)}`]),
  ];
  const used =
    uses === 0 || firstAt === null || lastAt === null
      ? 'not used in that time'
      : `used ${uses === 1 ? 'once' : `${uses} times`} in that time, ${firstAt.toISOString()} to ${lastAt.toISOString()}`;
  return `- ${name} (${marks.join(', ')}): ${used}`;
}

/** Without line ends, control and format characters, and no longer than a line: a label cannot write a paragraph of its own. */
function plainLine(text: string): string {
  const plain = text
    .toWellFormed()
    .replaceAll(/[\s\p{Cc}\p{Cf}]+/gu, ' ')
    .trim();
  return plain.length <= maxLabel ? plain : `${plain.slice(0, maxLabel).toWellFormed()}…`;
}
