import { readFileSync } from 'node:fs';
import path from 'node:path';
import { readMoment } from '../admin/moment.ts';
import { SallyportError } from '../errors.ts';
import type { Command, Context } from './command.ts';
import type { BackupEvent, RestoredState } from './deps.ts';
import { exits, failureOf, usageError } from './failure.ts';

const age = {
  value: 'RECIPIENT',
  doc: 'an age recipient (age1…); may stand several times',
  isRepeatable: true,
} as const;

const vaultExport: Command = {
  words: 'vault export',
  isLocal: true,
  doc: 'Write every record of the vault to a file, as ciphertext: useless without the keyring.',
  options: {
    to: { value: 'FILE', doc: 'a new file; it gets mode 0600', isRequired: true },
    age: { ...age, doc: `portable: for whoever holds the identity of ${age.doc}` },
  },
  async run(context) {
    const safekeeping = await (await context.deps()).safekeeping();
    const made = await safekeeping.exportVault({
      to: fileOf(context, 'to'),
      recipients: context.texts('age'),
    });
    const { counts, deploymentId, file, isPortable, rootKeyIds } = made;
    const needs = isPortable ? 'the age identity' : `the keyring with ${rootKeyIds.join(', ')}`;
    context.print(
      { file, deploymentId, rootKeyIds, isPortable, counts },
      `${countText(counts)} in ${file}. To import it, you need ${needs}.\n`,
    );
    return exits.ok;
  },
};

const vaultImport: Command = {
  words: 'vault import',
  isLocal: true,
  doc: 'Found an empty installation anew from an export, after verifying every record.',
  argument: 'FILE',
  options: { identity: { value: 'FILE', doc: 'of a portable export: the age identity file' } },
  async run(context) {
    const safekeeping = await (await context.deps()).safekeeping();
    const from = path.resolve(context.argument);
    const { counts, deploymentId, rootKeyIds } = await safekeeping.importVault({
      from,
      identities: identities(context),
    });
    context.print(
      { deploymentId, rootKeyIds, counts },
      `${countText(counts)} imported. Tokens and keys work as they did; start the gateway: npm start\n`,
    );
    return exits.ok;
  },
};

const backup: Command = {
  words: 'backup',
  isLocal: true,
  doc: 'Back up database and journal while the gateway runs; with --every, until it is stopped.',
  options: {
    to: { value: 'DIR', doc: 'folder of backups', isRequired: true },
    age: { ...age, doc: `put the keyring in, encrypted to ${age.doc}` },
    every: { value: 'TIME', doc: 'such as 24h: keep running, and copy what changes in between every 10 s' },
    keep: { value: 'N', doc: 'delete all but the newest N (with --every: 7)' },
  },
  async run(context) {
    const safekeeping = await (await context.deps()).safekeeping();
    const to = fileOf(context, 'to');
    const recipients = context.texts('age');
    const every = context.text('every');
    const keep = keepOf(context);
    if (every !== null) {
      await untilSignal((signal) =>
        safekeeping.keepBackups({
          to,
          recipients,
          everyMs: durationOf(every),
          keep: keep ?? 7,
          signal,
          onEvent: (event) => void context.terminal.error.write(eventText(event)),
        }),
      );
      return exits.ok;
    }
    const { bytes, finishedAt, folder, id, pruned } = await safekeeping.backup({ to, recipients, keep });
    const size = `${(bytes / 1e6).toFixed(1)} MB`;
    const keyring =
      recipients.length === 0
        ? 'The keyring is not in it: keep a copy of it elsewhere.'
        : 'The keyring is in it, encrypted.';
    context.print(
      { id, folder, finishedAt, bytes, pruned },
      `${folder}: ${size}, as of ${finishedAt}.\n${keyring}\n`,
    );
    return exits.ok;
  },
};

const restore: Command = {
  words: 'restore',
  isLocal: true,
  doc: 'Bring a backup back into an empty DATA_DIR.',
  options: {
    from: { value: 'DIR', doc: 'folder of backups, or one of them', isRequired: true },
    at: { value: 'TIME', doc: 'the state of this moment (RFC 3339); left out: the newest' },
    identity: { value: 'FILE', doc: 'age identity file, where the keyring is in the backup' },
  },
  async run(context) {
    const safekeeping = await (await context.deps()).safekeeping();
    const at = context.text('at');
    const { dataDir } = context.config();
    const restored = await safekeeping.restore({
      from: fileOf(context, 'from'),
      at: at === null ? null : readMoment('/at', at),
      identities: identities(context),
    });
    const { backup, cut, deploymentId, hasKeyring, missingRootKeyIds, restoredTo, rootKeyIds } = restored;
    context.print(
      { backup, restoredTo, deploymentId, rootKeyIds, hasKeyring, missingRootKeyIds, cut },
      restoredText(restored, dataDir),
    );
    return exits.ok;
  },
};

export const safekeepingCommands: readonly Command[] = [vaultExport, vaultImport, backup, restore];

function restoredText(
  { backup, cut, hasKeyring, missingRootKeyIds, restoredTo }: RestoredState,
  dataDir: string,
): string {
  const lost =
    cut === null
      ? ''
      : `The journal ends before record ${cut.seq} of ${cut.stream}: what was done later is undone.\n`;
  const file = path.join(dataDir, 'keyring.json');
  const missing = missingRootKeyIds.join(', ');
  const put = hasKeyring
    ? `The keyring of that backup is older than what was copied after it. Put a later one in place of ${file}`
    : `Now put the keyring back, ${file}`;
  const keyring = missing === '' ? '' : `${put} (mode 0600), with ${missing}.\n`;
  return `${dataDir} is as it was at ${restoredTo} (${backup}).\n${lost}${keyring}Then: npm start, and bin/sallyport doctor\n`;
}

function countText(counts: Readonly<Record<string, number>>): string {
  const of = (table: string): number => counts[table] ?? 0;
  return `${of('workspaces')} workspaces, ${of('users')} users, ${of('tokens')} tokens, ${of('provider_keys')} provider keys`;
}

function eventText(event: BackupEvent): string {
  if (event.kind === 'waiting') return 'No gateway runs here: waiting for it.\n';
  if (event.kind === 'backup') {
    const pruned = event.pruned.length === 0 ? '' : `; deleted ${event.pruned.join(', ')}`;
    return `${event.id}${pruned}\n`;
  }
  const { code, message } = failureOf(event.error);
  return `sallyport: ${message} (${code}); trying again.\n`;
}

function fileOf(context: Context, option: string): string {
  return path.resolve(context.text(option) ?? '');
}

function keepOf(context: Context): number | null {
  const text = context.text('keep');
  if (text === null) return null;
  if (!/^[1-9]\d{0,3}$/.test(text))
    throw usageError(
      '--keep must be a whole number from 1 to 9999.',
      'bin/sallyport backup --to DIR --keep 7',
    );
  return Number(text);
}

const unitMs: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

function durationOf(text: string): number {
  const [, count = '', unit = ''] = /^([1-9]\d{0,3})(m|h|d)$/.exec(text) ?? [];
  if (count === '')
    throw usageError(
      '--every must be a time such as 30m, 24h or 7d.',
      'bin/sallyport backup --to DIR --every 24h',
    );
  return Number(count) * (unitMs[unit] ?? 0);
}

function identities(context: Context): string | null {
  const file = context.text('identity');
  if (file === null) return null;
  try {
    return readFileSync(path.resolve(file), 'utf8');
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown error';
    throw new SallyportError('NOT_FOUND', `The identity file cannot be read (${reason}).`, {
      fix: 'Name the file that age-keygen wrote: --identity FILE',
      cause,
    });
  }
}

async function untilSignal(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const end = new AbortController();
  const stop = (): void => end.abort();
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of names) process.once(name, stop);
  try {
    await work(end.signal);
  } finally {
    for (const name of names) process.off(name, stop);
  }
}
