import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { readCheckpoint } from '../../src/journal/checkpoint-note.ts';
import { parseNote, signedNote } from '../../src/journal/note.ts';
import { writeHonestJournal } from './honest-journal.ts';
import {
  asDatabaseWriter,
  copyOf,
  forged,
  literal,
  selfIntroduced,
  strangersKey,
  told,
  verified,
} from './tampering.ts';

t.setTimeout(300_000);

const folder = t.testdir({});
const journal = await writeHonestJournal(t, join(folder, 'attacked'), 4000);
const { database, keys, streams } = journal;
const [first, second, third, last] = streams as [string, string, string, string];
const { name } = keys;

const rows = await database.store.asSystem((tx) =>
  tx.selectFrom('checkpoints').selectAll().orderBy('number').execute(),
);
const notes = rows.map(({ note, number }) => ({ number: Number(number), note }));
const read = (note: string) => readCheckpoint(parseNote(note)!)!;
/** A checkpoint in the middle that covers records of the second stream alone. */
const middle = notes.find(({ note }) => read(note).streams.every(({ stream }) => stream === second))!;
const covered = read(middle.note).streams[0]!;
const seq = covered.firstSeq + 7;
const at = (stream: string, of: number): string => `stream = '${stream}' and seq = ${of}`;

// `node test/faults/tampering-long.ts` says the same of a million.
t.test('honest journals whose clocks jump raise no alarm, whole and since any moment', async (t) => {
  const honest = await writeHonestJournal(t, join(folder, 'honest'), 8000);
  const verdict = await verified(honest);
  t.same(verdict.problems, []);
  t.match(verdict, { ok: true, streams: 4, records: honest.records });
  const times = await honest.database.owner<{ at: Date }>('select at from checkpoints order by number');
  t.equal(verdict.checkpoints, times.length);
  for (const { at: since } of [times.at(0)!, times.at(times.length / 2)!, times.at(-1)!]) {
    const part = await verified(honest, { since });
    t.same(part.problems, [], since.toISOString());
    t.ok(part.records <= verdict.records);
  }
  const rest = await verified(honest, { since: new Date('2199-01-01') });
  t.ok(rest.records < 10, 'all but the last few is signed by then');
});

interface Attack {
  readonly what: string;
  readonly statements: readonly string[];
  /** `kind stream seq` of what has to be among the findings. */
  readonly found: readonly string[];
  /** Whatever else may be told beside it; left out: nothing. */
  readonly beside?: RegExp;
  /** Without one nobody can tell. */
  readonly needsCopy?: boolean;
}

const usage = /^usage /;
const stranger = strangersKey();
const moved = (from: string, to: string): string =>
  `update journal set stream = '${to}', month = month where stream = '${from}'`;
const cutAt = (stream: string, from: number): string[] => [
  `delete from journal where stream = '${stream}' and seq >= ${from}`,
  `update journal_streams set next_seq = ${from}, head_hash = (select hash from journal where ${at(stream, from - 1)}) where stream = '${stream}'`,
];
const lastCovered = read(notes.at(-1)!.note);
const end = lastCovered.streams.find(({ stream }) => stream === last)!;
const shipped = await database.store.asSystem((tx) =>
  tx.selectFrom('journal_streams').select('next_seq').where('stream', '=', last).executeTakeFirstOrThrow(),
);
const behind = Number(shipped.next_seq);

const attacks: readonly Attack[] = [
  {
    what: 'one byte of a line changed',
    statements: [
      `update journal set line = overlay(line placing '!' from position('"event":"' in line) + 12) where ${at(second, seq)}`,
    ],
    found: [`hash ${second} ${seq}`],
    beside: /^(?:usage|missing|mismatch) /,
  },
  {
    what: 'a column changed by which records are found',
    statements: [`update journal set user_id = 'usr_2' where ${at(second, seq)}`],
    found: [`mismatch ${second} ${seq}`],
  },
  {
    what: 'the column of a hash changed',
    statements: [`update journal set hash = sha256(hash) where ${at(second, seq)}`],
    found: [`mismatch ${second} ${seq}`, `checkpoint checkpoints ${middle.number}`],
  },
  {
    what: 'a row deleted',
    statements: [`delete from journal where ${at(second, seq)}`],
    found: [`gap ${second} ${seq}`, `missing ${second} ${seq}`],
    beside: /^(?:usage|missing) /,
  },
  {
    what: 'a row inserted a second time, in another month',
    statements: [
      `insert into journal select ((month + interval '1 month')::date), stream, seq, workspace_id, at, event, call_id, key_id, token_id, user_id, hash, line
         from journal where ${at(second, seq)}`,
    ],
    found: [`duplicate ${second} ${seq}`],
    beside: /^(?:missing|checkpoint) /,
  },
  {
    what: 'a row inserted that nobody wrote, at the end',
    statements: [
      `insert into journal select month, stream, seq + 1, workspace_id, at, event, call_id, key_id, token_id, user_id, hash, replace(line, '"seq":' || seq, '"seq":' || seq + 1)
         from journal where ${at(last, behind - 1)}`,
      `update journal_streams set next_seq = next_seq + 1 where stream = '${last}'`,
    ],
    found: [`hash ${last} ${behind}`],
  },
  {
    what: 'two rows swapped',
    statements: [
      `update journal set seq = -seq where stream = '${second}' and seq in (${seq}, ${seq + 1})`,
      `update journal set seq = case seq when -${seq} then ${seq + 1} else ${seq} end where stream = '${second}' and seq < 0`,
    ].map((statement) => `alter table journal drop constraint if exists journal_seq_check; ${statement}`),
    found: [`gap ${second} ${seq}`, `duplicate ${second} ${seq}`, `checkpoint checkpoints ${middle.number}`],
    beside: /^(?:mismatch|missing) /,
  },
  {
    what: 'the tail cut behind a checkpoint, and the shipper’s position with it',
    statements: cutAt(last, end.nextSeq - 3),
    found: [`missing ${last} ${end.nextSeq - 3}`],
    beside: usage,
  },
  {
    what: 'the tail cut before a checkpoint came, of a stream that another follows',
    statements: [
      ...cutAt(second, covered.firstSeq + 1),
      `delete from checkpoint_streams`,
      `delete from checkpoints`,
    ],
    found: [`missing ${second} ${covered.firstSeq + 1}`],
    beside: /^(?:usage|missing|mismatch|link) /,
  },
  {
    what: 'two streams exchanged',
    statements: [moved(first, 'x'), moved(third, first), moved('x', third)],
    found: [`hash ${first} 0`, `hash ${third} 0`],
    beside: /^(?:usage|missing|mismatch|hash|checkpoint|link) /,
  },
  {
    what: 'a checkpoint edited',
    statements: [
      `update checkpoints set note = replace(note, ' ${covered.nextSeq} ', ' ${covered.nextSeq + 1} ') where number = ${middle.number}`,
    ],
    found: [`checkpoint checkpoints ${middle.number}`],
    beside: new RegExp(`^checkpoint checkpoints ${middle.number + 1}$`),
  },
  {
    what: 'a checkpoint signed anew by another key',
    statements: [
      `update checkpoints set note = ${literal(forged(name, middle.note, stranger))} where number = ${middle.number}`,
    ],
    found: [`checkpoint checkpoints ${middle.number}`],
  },
  {
    what: 'a checkpoint signed anew by another key that was put among the keys',
    statements: [
      `insert into signing_keys (id, public_key, note, retired_at) values ('sgn_0', '\\x${stranger.publicKey.toString('hex')}', ${literal(selfIntroduced(name, stranger))}, now())`,
      `update checkpoints set note = ${literal(forged(name, middle.note, stranger))} where number = ${middle.number}`,
    ],
    found: [`checkpoint signing_keys 0`, `checkpoint checkpoints ${middle.number}`],
  },
  {
    what: 'all checkpoints signed anew, under a key that was put in place of all others',
    statements: [
      `delete from signing_keys`,
      `insert into signing_keys (id, public_key, root_key_id, record, note) values ('sgn_0', '\\x${stranger.publicKey.toString('hex')}', 'k', '\\x00', ${literal(selfIntroduced(name, stranger))})`,
      ...notes.map(
        ({ note, number }) =>
          `update checkpoints set note = ${literal(forged(name, note, stranger))} where number = ${number}`,
      ),
    ],
    found: [`checkpoint checkpoints 1`, `checkpoint signing_keys 0`],
    beside: /^(?:checkpoint|missing) /,
  },
  {
    what: 'the row of a checkpoint deleted',
    statements: [`delete from checkpoints where number = ${middle.number}`],
    found: [`missing checkpoints ${middle.number}`],
    beside: new RegExp(`^checkpoint checkpoints ${middle.number + 1}$`),
  },
  {
    what: 'the last checkpoints deleted, which the copy has',
    statements: [`delete from checkpoints where number > ${notes.length - 2}`],
    found: [`missing checkpoints ${notes.length - 1}`, `missing checkpoints ${notes.length}`],
    needsCopy: true,
  },
  {
    what: 'the index of the checkpoints changed',
    statements: [`update checkpoint_streams set next_seq = next_seq + 1 where number = ${middle.number}`],
    found: [`checkpoint checkpoints ${middle.number}`],
  },
  {
    what: 'an act exchanged for another',
    statements: [`update acts set digest = sha256(digest) where act_id = (select min(act_id) from acts)`],
    found: [],
    beside: /^mismatch /,
  },
];

for (const { beside, found, needsCopy = false, statements, what } of attacks) {
  t.test(`${what}: found and named`, async (t) => {
    const verdict = await asDatabaseWriter(journal, statements, () =>
      verified(journal, { isAlone: !needsCopy }),
    );
    const names = told(verdict.problems);
    t.notOk(verdict.ok);
    for (const one of found) t.ok(names.includes(one), `${one} is among ${names.slice(0, 6).join(', ')}`);
    const others = names.filter((one) => !found.includes(one) && !(beside?.test(one) ?? false));
    t.same(others, [], 'nothing else');
  });
}

t.test('after all that the journal is as it was', async (t) => {
  t.same((await verified(journal)).problems, []);
});

t.test('with database and signing key in one hand, the copy outside is what tells', async (t) => {
  const [, newest] = [notes.at(-2)!, notes.at(-1)!];
  const signer = (await journal.vault.signingKeys.active())!;
  const rewritten = signedNote(
    name,
    parseNote(newest.note)!.text.replace(/^at .*$/m, `at ${new Date(0).toISOString()}`),
    [signer],
  );
  const statements = [
    `update checkpoints set at = '${new Date(0).toISOString()}', note = ${literal(rewritten)} where number = ${newest.number}`,
  ];
  await asDatabaseWriter(journal, statements, async () => {
    t.same((await verified(journal, { isAlone: true })).problems, [], 'without a copy nobody can tell');
    t.same(told((await verified(journal)).problems), [`checkpoint checkpoints ${newest.number}`]);
  });
});

t.test('a copy that was changed, or is another’s, is not believed', async (t) => {
  const text = await copyOf(journal);
  const path = join(folder, 'other.txt');
  const other = { ...journal, copy: path };
  await writeFile(path, text.replace(`/${middle.number}\n`, `/${middle.number + 1}\n`));
  t.same(told((await verified(other)).problems), [`checkpoint checkpoints ${middle.number + 1}`]);
  await writeFile(path, text.replaceAll(name, 'sallyport/dep_0'));
  await t.rejects(verified(other), { code: 'REQUEST_INVALID' });
  await writeFile(path, 'nothing of the kind\n');
  await t.rejects(verified(other), { code: 'NOT_FOUND' });
  await writeFile(path, text.slice(0, -40));
  t.same((await verified(other)).problems, [], 'a copy that is being written');
});
