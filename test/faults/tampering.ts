import { readFile } from 'node:fs/promises';
import { generateKeyPairSync, sign } from 'node:crypto';
import { withClient } from '../../src/db/connection.ts';
import { checkpointText, introductionText, readCheckpoint } from '../../src/journal/checkpoint-note.ts';
import type { Fault } from '../../src/journal/cursor.ts';
import { type NoteSigner, parseNote, signedNote, verifierText } from '../../src/journal/note.ts';
import { verifyJournal, type Verdict } from '../../src/journal/verify.ts';
import type { HonestJournal } from './honest-journal.ts';

/** Whoever owns the database: triggers and row security are off, and every statement is his. Undone when `work` has ended. */
export async function asDatabaseWriter<T>(
  { database }: Pick<HonestJournal, 'database'>,
  statements: readonly string[],
  work: () => Promise<T>,
): Promise<T> {
  return withClient(database.connection, async (client) => {
    const { rows } = await client.query<{ name: string }>(
      `select relname as name from pg_class where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p')
         and (relname ~ '^(journal|usage_events)' or relname in ('usage_hourly', 'acts', 'checkpoints', 'checkpoint_streams', 'signing_keys'))`,
    );
    const tables = rows.map(({ name }) => name);
    // What is there, kept beside it: the next attack finds it whole again.
    const kept = tables.filter((name) => !/^(?:journal|usage_events)$/.test(name));
    await client.query(
      tables
        .map(
          (name) =>
            `alter table ${name} disable trigger user; alter table ${name} no force row level security;`,
        )
        .join(''),
    );
    for (const name of kept)
      await client.query(`create table if not exists kept_${name} as select * from ${name}`);
    await client.query(
      `alter table checkpoint_streams drop constraint if exists checkpoint_streams_number_fkey`,
    );
    try {
      for (const statement of statements) await client.query(statement);
      return await work();
    } finally {
      await client.query(
        kept.map((name) => `truncate ${name}; insert into ${name} select * from kept_${name};`).join(''),
      );
    }
  });
}

/** What `journal verify` says, with the vault's word on the key in use and the copy of the checkpoints, as a gateway has them. */
export async function verified(
  journal: HonestJournal,
  more: { readonly isAlone?: boolean; readonly since?: Date } = {},
): Promise<Verdict> {
  const { copy, database, dirs, vault } = journal;
  const active = await vault.signingKeys.active().catch(() => null);
  return verifyJournal({
    dir: dirs[0] as string,
    store: database.store,
    activeKey: active?.publicKey ?? Buffer.alloc(32),
    copy: more.isAlone === true ? null : { path: copy, mayBeEmpty: false },
    since: more.since ?? null,
  });
}

export const told = (problems: readonly Fault[]): string[] =>
  problems.map(({ kind, seq, stream }) => `${kind} ${stream} ${seq}`);

/** A key of the attacker's own. */
export function strangersKey(): NoteSigner {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    publicKey: publicKey.export({ format: 'raw-public' }),
    sign: (bytes) => sign(null, bytes, privateKey),
  };
}

/** The same checkpoint, signed by somebody else, with what he would have it say. */
export function forged(name: string, note: string, signer: NoteSigner, more: object = {}): string {
  const { name: _, ...checkpoint } = readCheckpoint(parseNote(note)!)!;
  return signedNote(name, checkpointText(name, { ...checkpoint, ...more }), [signer]);
}

/** A key that introduces itself in place of the first one. */
export function selfIntroduced(name: string, signer: NoteSigner): string {
  const text = introductionText(name, {
    key: verifierText({ name, publicKey: signer.publicKey }),
    replaces: null,
    at: new Date(0).toISOString(),
  });
  return signedNote(name, text, [signer]);
}

export const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`;
export const copyOf = ({ copy }: HonestJournal): Promise<string> => readFile(copy, 'utf8');
