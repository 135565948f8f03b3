import { appendFileSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { readCheckpoint } from '../../src/journal/checkpoint-note.ts';
import { createNoteFile, readNotes } from '../../src/journal/note-file.ts';
import { createNoteWebhook } from '../../src/journal/note-webhook.ts';
import { parseNote } from '../../src/journal/note.ts';
import { startGateway } from '../support/gateway.ts';
import { scriptUpstream } from '../support/upstream.ts';

const read = async (file: string): Promise<(number | string)[]> => {
  const notes = await Array.fromAsync(readNotes(file));
  return notes.map((note) => {
    if (note === null) return 'torn';
    return readCheckpoint(parseNote(note)!)?.number ?? 'key';
  });
};

t.test('a gateway hands its checkpoints out: file, standard output, webhook', async (t) => {
  const upstream = await scriptUpstream(t, { script: () => ({ status: 200, body: '' }) });
  const output: string[] = [];
  const gateway = await startGateway(t, {
    settings: {
      CHECKPOINT_OUTLETS: `file,stdout,${upstream.origin}/notes?from=here`,
      SALLYPORT_ALLOW_ORIGINS: upstream.origin,
    },
    output: { write: (text) => output.push(text) },
  });
  const { checkpoints } = gateway.app;
  const act = async (): Promise<void> => {
    await gateway.api('POST', '/users', { name: 'somebody' });
    await gateway.shipped();
    await checkpoints.write({ isForced: true });
  };
  await act();
  await act();
  await (await checkpoints.keys.takeover()).keep();
  await act();
  await checkpoints.handedOut();
  const file = path.join(path.dirname(gateway.journalDir), 'checkpoints.txt');
  t.same(await read(file), ['key', 1, 2, 'key', 3]);
  t.equal(statSync(file).mode & 0o777, 0o600);
  const text = await readFile(file, 'utf8');
  t.equal(output.join(''), text, 'standard output has the same notes in the same order');
  t.equal(upstream.requests.map(({ body }) => `${String(body)}\n`).join(''), text);
  t.match(upstream.requests[0], { method: 'POST', path: '/notes?from=here' });
  const metrics = await gateway.metrics();
  t.match(metrics, /sallyport_checkpoints_total\{result="written"\} 3/);
  t.match(
    metrics,
    /sallyport_checkpoints_total\{result="sent"\} 8/,
    'three in the file, five to the webhook',
  );
  t.match(metrics, /sallyport_checkpoint_age_seconds 0/);

  const { store } = gateway.installation;
  // Another node, or a crash in the middle of a line: the file gets what the database has, once.
  const other = path.join(path.dirname(file), 'other.txt');
  await createNoteFile({ path: other, store }).follow();
  t.equal(readFileSync(other, 'utf8').split('\n').length, text.split('\n').length);
  for (const cut of [1, 20, 120, 300]) {
    truncateSync(other, readFileSync(other).length - cut);
    await createNoteFile({ path: other, store }).follow();
    t.same((await read(other)).filter((one) => one !== 'torn').slice(-1), [3], `${cut} bytes were cut off`);
  }
  appendFileSync(other, 'something else');
  await act();
  await createNoteFile({ path: other, store }).follow();
  t.equal((await read(other)).at(-1), 4);

  await gateway.database.owner(
    `alter table checkpoints disable trigger append_only;
     update checkpoints set note = replace(note, '/4', '/40') where number = 4`,
  );
  for (const one of [other, file])
    await t.rejects(createNoteFile({ path: one, store }).follow(), {
      code: 'CONFLICT',
      message: /Checkpoint 4/,
    });
});

t.test(
  'a webhook that may not be reached is refused at the start, and its address is in no log',
  async (t) => {
    for (const url of ['http://example.com/x', 'https://127.0.0.1/x', 'https://[::1]/x', 'http://10.0.0.1/x'])
      await t.rejects(
        startGateway(t, { settings: { CHECKPOINT_OUTLETS: url } }),
        { code: 'EGRESS_REFUSED' },
        url,
      );
    for (const url of [
      'ftp://example.com',
      'files',
      'https://me:secret@example.com/',
      'https://example.com/#x',
    ])
      await t.rejects(
        startGateway(t, { settings: { CHECKPOINT_OUTLETS: url } }),
        { code: 'CONFIG_INVALID' },
        url,
      );

    const gone = await scriptUpstream(t, { script: () => ({ status: 503, body: '' }) });
    const gateway = await startGateway(t, {
      settings: {
        CHECKPOINT_OUTLETS: `${gone.origin}/hooks/T0KEN`,
        SALLYPORT_ALLOW_ORIGINS: gone.origin,
      },
    });
    await gateway.shipped();
    await gateway.app.checkpoints.write();
    await gone.received(1);
    await gateway.stop();
    t.notMatch(gateway.logLines.join('\n'), /T0KEN/);
  },
);

t.test('a webhook is tried again, longer and longer, and gets every note in order', async (t) => {
  const waits: number[] = [];
  const got: string[] = [];
  const results: boolean[] = [];
  let failures = 9;
  const webhook = createNoteWebhook({
    async send(note) {
      failures -= 1;
      if (failures >= 0 && failures % 2 === 0) throw new Error('gone');
      if (failures >= 0) return 500;
      got.push(note);
      return 204;
    },
    wait: async (ms) => void waits.push(ms),
    onResult: (error) => results.push(error === null),
  });
  for (const note of ['a', 'b', 'c']) webhook.give(note);
  await webhook.idle();
  t.same(got, ['a', 'b', 'c']);
  t.same(waits, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  t.equal(results.filter((isGood) => isGood).length, 3);
});

t.test('what waits for a webhook has a bound, and the end of the gateway ends it', async (t) => {
  const got: string[] = [];
  const blocked = Promise.withResolvers<void>();
  const webhook = createNoteWebhook({
    async send(note) {
      await blocked.promise;
      got.push(note);
      return 200;
    },
    wait: async () => {},
    onResult: () => {},
  });
  for (let i = 0; i < 250; i += 1) webhook.give(String(i));
  blocked.resolve();
  await webhook.idle();
  t.equal(got.length, 101, 'the one under way, and a hundred');
  t.equal(got.at(-1), '249');

  let sent = 0;
  const wait = Promise.withResolvers<void>();
  const closing = createNoteWebhook({
    send: async () => (sent += 1) && 500,
    wait: () => wait.promise,
    onResult: () => {},
  });
  closing.give('a');
  await new Promise(setImmediate);
  closing.close();
  wait.resolve();
  await closing.idle();
  closing.give('b');
  t.equal(sent, 1);
});
