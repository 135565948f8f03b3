import { execFile, spawnSync } from 'node:child_process';
import { readFileSync, realpathSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { promisify } from 'node:util';
import t from 'tap';
import { runCli } from '../../src/cli/run.ts';
import { readConfig } from '../../src/config.ts';
import { introductionText } from '../../src/journal/checkpoint-note.ts';
import { type NoteSigner, parseNote, signedNote, verifierText } from '../../src/journal/note.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';
import { asDatabaseWriter, selfIntroduced, strangersKey } from '../faults/tampering.ts';
import { said } from '../support/said.ts';

t.setTimeout(120_000);

const checker = path.join(import.meta.dirname, '../../docs/examples/check-proof.mjs');
const folder = t.testdir({});
const upstream = await scriptUpstream(t, {
  script: ({ body }) => ({
    status: String(body).includes('"gpt-broken"') ? 500 : 200,
    body: { choices: [] },
  }),
});
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
const { checkpoints } = gateway.app;
const { body: ann } = await gateway.api('POST', '/users', { name: 'ann' });
const { body: ben } = await gateway.api('POST', '/users', { name: 'ben' });
const mint = async (kind: string, userId: string): Promise<string> =>
  (await gateway.api('POST', '/tokens', { name: kind, kind, userId })).body.token;
await gateway.api('PATCH', `/members/${ann.id}`, { role: 'member' });
await gateway.api('PATCH', `/members/${ben.id}`, { role: 'auditor' });
const tokens = {
  ann: await mint('admin', ann.id),
  ben: await mint('admin', ben.id),
  annsCalls: await mint('gateway', ann.id),
};
await gateway.addKey('openai', 'sk-test-of-proofs-0123456789', { sharedWith: 'workspace' });

async function callFor(token: string, model = 'gpt-4o'): Promise<string> {
  const { headers } = await ask(`${gateway.origin}/v1/chat/completions`, {
    headers: { authorization: `Bearer ${token}` },
    body: { model, messages: [] },
  });
  await gateway.shipped();
  return headers.find(([name]) => name === 'x-sallyport-receipt')?.[1] ?? 'none';
}

const proofOf = (receipt: string, token = gateway.adminToken) =>
  gateway.api('GET', `/audit/proof?record=${receipt}`, undefined, token);

let files = 0;
function write(content: unknown): string {
  const file = path.join(folder, `${(files += 1)}`);
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
  return file;
}

/** The stand-alone checker, as somebody outside runs it with his Node: what it says. */
async function checkWith(node: string, proof: unknown, more: readonly string[]): Promise<string> {
  return promisify(execFile)(node, [checker, ...more, write(proof)], { env: {} }).then(
    ({ stdout }) => stdout,
    (error: { code: number; stderr: string }) => `${error.code} ${error.stderr}`,
  );
}

const check = (proof: unknown, ...more: string[]): Promise<string> =>
  checkWith(process.execPath, proof, more);

/** Every Node from 20 on that this machine finds by its name: ours is newer than what others have. */
function nodesAtHand(): string[] {
  const found = (process.env['PATH'] ?? '').split(path.delimiter).flatMap((folder) => {
    const { status, stdout } = spawnSync(path.join(folder, 'node'), ['--version'], { encoding: 'utf8' });
    const isOne = status === 0 && Number(/^v(\d+)/.exec(stdout)?.[1]) >= 20;
    return isOne ? [realpathSync(path.join(folder, 'node'))] : [];
  });
  return [...new Set([process.execPath, ...found])];
}

/** A command in this process. */
async function run(...argv: string[]) {
  const [output, error] = [new PassThrough(), new PassThrough()];
  const exit = await runCli({
    argv: [...argv, '--json'],
    terminal: { input: Readable.from([]), output, error },
    version: '1.2.3',
    readConfig: () =>
      readConfig({
        DATA_DIR: '/nonexistent',
        SALLYPORT_URL: gateway.origin,
        SALLYPORT_ADMIN_TOKEN: gateway.adminToken,
      }),
    loadDeps: () => Promise.reject(new Error('not to be used here')),
  });
  const text = said(output);
  return { exit, json: text === '' ? null : JSON.parse(text), err: said(error) };
}

const receipts: string[] = [];
let pinned = '';
/** The first record's proof, as it was before another key took over. */
let early: { checkpoint: string; introductions: string[] };
/** What a thief of the first key would make with it: a key that takes over from it, and a checkpoint. */
let fork: { introduction: string; sign: (text: string) => string };

async function forkOf(thiefs: NoteSigner): Promise<typeof fork> {
  const stolen = (await gateway.installation.vault.signingKeys.active())!;
  const name = pinned.split('+')[0]!;
  const key = verifierText({ name, publicKey: thiefs.publicKey });
  const text = introductionText(name, { key, replaces: pinned, at: new Date(0).toISOString() });
  return {
    introduction: signedNote(name, text, [stolen, thiefs]),
    sign: (note) => signedNote(name, note, [thiefs]),
  };
}

t.test('a record without a checkpoint has no proof yet, and the answer says when', async (t) => {
  receipts.push(await callFor(tokens.annsCalls));
  const early = await proofOf(receipts[0]!);
  t.match(early, { status: 409, body: { code: 'CHECKPOINT_PENDING', detail: /due in \d+ s/ } });
  t.ok(Number(early.headers.get('retry-after')) <= 60);
  await checkpoints.write({ isForced: true });
  const { body } = await gateway.api('GET', '/signing-keys', undefined, tokens.ann);
  t.match(body, { data: [{ isActive: true, retiredAt: null }], nextCursor: null });
  pinned = body.data[0].verifier;
});

t.test(
  'a new key takes over: proofs under both are checked with the one that was pinned first',
  async (t) => {
    early = (await proofOf(receipts[0]!)).body;
    fork = await forkOf(strangersKey());
    const refused = await gateway.api('POST', '/signing-keys/rotate', {}, tokens.ann);
    t.match(refused, { status: 403, body: { code: 'FORBIDDEN' } });
    const rotated = await run('journal', 'rotate-key');
    t.match(rotated, {
      exit: 0,
      json: { data: [{ isActive: true }, { isActive: false, verifier: pinned }] },
    });
    receipts.push(await callFor(tokens.annsCalls, 'gpt-broken'));
    await checkpoints.write({ isForced: true });
    t.equal((await run('journal', 'rotate-key')).exit, 0);
    receipts.push(await callFor(gateway.token));
    await checkpoints.write({ isForced: true });

    const { json: keys } = await run('journal', 'keys');
    const verifiers: string[] = keys.data.map(({ verifier }: { verifier: string }) => verifier);
    t.equal(new Set(verifiers).size, 3);
    const copy = path.join(path.dirname(gateway.journalDir), 'checkpoints.txt');
    for (const [i, receipt] of receipts.entries()) {
      const { body: proof } = await proofOf(receipt);
      t.equal(proof.record, receipt, 'receipts are in answers that are errors, too');
      const told = await check(proof, '--key', pinned, '--receipt', receipt, '--copy', copy);
      t.match(told, `OK: ${receipt}, use.begin`);
      t.match(told, verifiers.at(-1 - i), 'each signed by the key of its time');
      t.match(await check(proof, '--key', verifiers[0]!), 'OK: ', 'and with the newest one pinned');
    }
    const acts = await gateway.api('GET', '/audit?event=checkpoint.rotate.done');
    t.match(acts.body.data, [{ actor: { type: 'admin' } }, { actor: { type: 'admin' } }]);

    const out = path.join(folder, 'proof.json');
    t.match(await run('journal', 'proof', receipts[0]!, '--out', out), { exit: 0, json: { file: out } });
    t.match(await check(readFileSync(out, 'utf8'), '--key', pinned), 'OK: ');
    t.match(await run('journal', 'proof', receipts[0]!, '--out', out), { exit: 1, err: /there already/ });
    t.match(await run('journal', 'proof', receipts[1]!), { exit: 0, json: { record: receipts[1] } });
  },
);

t.test('a proof from before a key took over is checked with a copy from after it', async (t) => {
  const copy = path.join(path.dirname(gateway.journalDir), 'checkpoints.txt');
  t.equal(early.introductions.length, 1);
  t.match(await check(early, '--key', pinned, '--copy', copy), `OK: ${receipts[0]}`);

  const text = readFileSync(copy, 'utf8');
  const copies: [string, string, RegExp][] = [
    [
      'without introductions',
      text.replaceAll(/^\S+\/key\n(?:.+\n)+\n(?:— .+\n)+\n/gm, ''),
      /2 of the copy is signed by no key/,
    ],
    [
      'with one that was changed',
      text.replace(/(?<=\/key\n.*\nreplaces s.*\nat )2/, '3'),
      /not signed by the key that it introduces/,
    ],
    [
      'with one that the key before did not sign',
      text.replace(/(?<=\/key\n.*\nreplaces s.*\nat .*\n\n)— .*\n/, ''),
      /not signed by the key that it introduces/,
    ],
  ];
  for (const [what, changed, why] of copies) {
    t.not(changed, text);
    const told = await check(early, '--key', pinned, '--copy', write(changed));
    t.match(told, new RegExp(`^1 REFUSED: .*${why.source}`), what);
  }

  const { checkpoint, introductions } = early;
  const forged = {
    ...early,
    checkpoint: fork.sign(parseNote(checkpoint)!.text),
    introductions: [...introductions, fork.introduction],
  };
  t.match(await check(forged, '--key', pinned), 'OK: ', 'a key that was stolen signs what it likes');
  t.match(
    await check(forged, '--key', pinned, '--copy', copy),
    /^1 REFUSED: the checkpoint is signed by no key/,
    'but not against the copy’s word on who took over',
  );
});

t.test('the checker runs on every Node from 20 on', async (t) => {
  for (const node of nodesAtHand())
    t.match(await checkWith(node, early, ['--key', pinned]), `OK: ${receipts[0]}`, node);
});

t.test('the checker refuses a proof in which anything was changed', async (t) => {
  const { body: proof } = await proofOf(receipts[2]!);
  const { body: other } = await proofOf(receipts[0]!);
  const stranger = strangersKey();
  const [, introduction] = proof.introductions as string[];
  const name = pinned.split('+')[0]!;
  const noteText = parseNote(proof.checkpoint)!.text;
  const changed = (text: string, at: number): string =>
    `${text.slice(0, at)}${text[at] === '0' ? '1' : '0'}${text.slice(at + 1)}`;
  const record = JSON.parse(proof.line);
  const forgeries: Record<string, [object, RegExp]> = {
    'the line': [{ line: proof.line.replace('"gpt-4o"', '"gpt-4x"') }, /hash is not that of the line/],
    'the line, not canonical': [{ line: ` ${proof.line}` }, /not canonical/],
    'a member of the line twice': [{ line: `{"at":"x",${proof.line.slice(1)}` }, /not canonical/],
    'another record’s line': [{ line: other.line }, /hash is not that of the line/],
    'the line and its hash': [
      { line: proof.line.replace(record.hash, changed(record.hash, 9)), hash: changed(record.hash, 9) },
      /hash is not that of the line/,
    ],
    'the hash': [{ hash: other.hash }, /hash is not that of the line/],
    'the hash before': [{ previousHash: changed(proof.previousHash, 3) }, /hash is not that of the line/],
    'the receipt': [{ record: other.record }, /another record than its line/],
    'the index': [{ leafIndex: proof.leafIndex ^ 1 }, /at this place/],
    'the size': [{ treeSize: proof.treeSize + 1 }, /sizes/],
    'a node of the path': [
      { path: [changed(proof.path[0], 0), ...proof.path.slice(1)] },
      /path does not lead/,
    ],
    'the path, shorter': [{ path: proof.path.slice(1) }, /path/],
    'the path, longer': [{ path: [...proof.path, proof.path[0]] }, /too long/],
    'the note': [{ checkpoint: proof.checkpoint.replace(/\nat 2/, '\nat 3') }, /signed by no key/],
    'another checkpoint': [{ checkpoint: other.checkpoint }, /sizes|does not cover/],
    'the signature': [
      {
        checkpoint: proof.checkpoint.replace(/(?<=\n— \S+ [^\n]{20})./, (at: string) =>
          at === 'A' ? 'B' : 'A',
        ),
      },
      /signed by no key/,
    ],
    'who signs': [{ checkpoint: signedNote(name, noteText, [stranger]) }, /signed by no key/],
    'who signs, and who introduces him': [
      {
        checkpoint: signedNote(name, noteText, [stranger]),
        introductions: [...proof.introductions, selfIntroduced(name, stranger)],
      },
      /signed by no key/,
    ],
    'an introduction': [
      { introductions: proof.introductions.with(1, introduction!.replace(/\nat 2/, '\nat 3')) },
      /not signed by the key that it introduces/,
    ],
    'an introduction left out': [{ introductions: proof.introductions.toSpliced(1, 1) }, /signed by no key/],
    'all of it': [{ introductions: 'x' }, /cannot be read/],
  };
  for (const [what, [forgery, why]] of Object.entries(forgeries))
    t.match(
      await check({ ...proof, ...forgery }, '--key', pinned),
      new RegExp(`^1 REFUSED: .*${why.source}`),
      what,
    );

  const elsewhere = pinned.replace(name, 'sallyport/dep_x');
  t.match(await check(proof, '--key', elsewhere), /^1 REFUSED: .*do not belong together/);
  t.match(await check(proof, '--key', pinned, '--receipt', receipts[0]!), /^1 REFUSED: .*than the receipt/);
  const copy = readFileSync(path.join(path.dirname(gateway.journalDir), 'checkpoints.txt'), 'utf8');
  const copies: [string, string, RegExp][] = [
    ['cut before the checkpoint', copy.slice(0, copy.indexOf(proof.checkpoint)), /not in the copy/],
    ['with one left out', copy.replace(/^\S+\/2\n[^—]*— .*\n\n/m, ''), /3 of the copy does not follow/],
    ['with another of a number', `${copy}${signedNote(name, noteText, [stranger])}\n`, /signed by no key/],
    ['of nothing', '', /not in the copy/],
  ];
  for (const [what, text, why] of copies)
    t.match(
      await check(proof, '--key', pinned, '--copy', write(text)),
      new RegExp(`^1 REFUSED: .*${why.source}`),
      what,
    );
});

t.test('a proof is for those who see the record', async (t) => {
  const [anns = '', , operators = ''] = receipts;
  const status = async (receipt: string, token: string) => (await proofOf(receipt, token)).status;
  t.equal(await status(anns, tokens.ann), 200);
  t.equal(await status(anns, tokens.ben), 200, 'an auditor sees the workspace’s');
  t.equal(await status(operators, tokens.ben), 200);
  t.match(await proofOf(operators, tokens.ann), { status: 404, body: { code: 'NOT_FOUND' } });
  const [stream = ''] = anns.split('.');
  t.equal(await status(`${stream}.0`, gateway.adminToken), 404, 'a record of no workspace');
  t.equal(await status(`${stream}.99999999`, gateway.adminToken), 404);
  t.match(await proofOf(anns.slice(0, -1) + (anns.endsWith('0') ? '1' : '0')), {
    status: 409,
    body: { code: 'CONFLICT' },
  });
  t.equal(await status(anns.slice(0, -17), tokens.ann), 200, 'without its hash');
  for (const bad of ['', 'x', '%00', "a:b.1'--", 'a:b.-1', 'a:b.1.xyz', `${'a'.repeat(90)}:b.1`])
    t.equal(await status(bad, gateway.adminToken), 400, bad);

  const { body: second } = await gateway.api('POST', '/workspaces', { name: 'second' });
  t.equal(await status(anns, second.adminToken), 404, 'another workspace’s owner');
  t.equal((await gateway.api('POST', '/signing-keys/rotate', {}, second.adminToken)).status, 403);
});

t.test('what does not fit its checkpoint gets no proof', async (t) => {
  const { owner } = gateway.database;
  const open = `alter table checkpoints disable trigger append_only`;
  const [receipt = ''] = receipts;
  await owner(
    `${open}; update checkpoints set note = replace(note, E'\\nat 2', E'\\nat 3') where number = 1`,
  );
  t.match(await proofOf(receipt), { status: 409, body: { code: 'CONFLICT', detail: /Checkpoint 1/ } });
  await owner(`update checkpoints set note = replace(note, E'\\nat 3', E'\\nat 2') where number = 1`);
  t.equal((await proofOf(receipt)).status, 200);
});

t.test(
  'the first record behind a checkpoint is proved without the one before it, which retention may have dropped',
  async (t) => {
    await gateway.shipped();
    await checkpoints.write({ isForced: true });
    await gateway.api('POST', '/users', { name: 'cid' });
    await gateway.shipped();
    await checkpoints.write({ isForced: true });
    const [last] = await gateway.database.owner<{ stream: string; first: string }>(
      'select stream, first_seq as first from checkpoint_streams order by number desc limit 1',
    );
    const { first, stream } = last!;
    const gone = `delete from journal where stream = '${stream}' and seq = ${Number(first) - 1}`;
    const { body, status } = await asDatabaseWriter(gateway, [gone], () => proofOf(`${stream}.${first}`));
    t.equal(status, 200);
    t.match(await check(body, '--key', pinned), 'user.create.intent');
  },
);
