import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import t from 'tap';
import {
  isSignedBy,
  keyIdOf,
  notesOf,
  parseNote,
  parseVerifier,
  signedNote,
  verifierText,
  type NoteSigner,
} from '../../src/journal/note.ts';

function signerOf(seed: Buffer): NoteSigner {
  const privateKey = createPrivateKey({ key: seed, format: 'raw-private', asymmetricKeyType: 'ed25519' });
  const publicKey = createPublicKey(privateKey).export({ format: 'raw-public' });
  return { publicKey, sign: (bytes) => sign(null, bytes, privateKey) };
}

function newSigner(): NoteSigner {
  const { privateKey } = generateKeyPairSync('ed25519');
  return signerOf(privateKey.export({ format: 'raw-private' }));
}

async function split(text: string): Promise<(string | null)[]> {
  async function* lines() {
    yield* text.split('\n');
  }
  return Array.fromAsync(notesOf(lines()));
}

/** The example of Go’s golang.org/x/mod/sumdb/note, which made the form. */
const example = {
  verifier: 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
  text: "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n",
  signature: 'x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=',
};

t.test('the note of Go’s example is read and verified, and ours are its twins', async (t) => {
  const { text } = example;
  const note = `${text}\n— PeterNeumann ${example.signature}\n`;
  const verifier = parseVerifier(example.verifier)!;
  t.equal(verifierText(verifier), example.verifier);
  t.equal(keyIdOf(verifier).toString('hex'), 'c74f20a3');
  t.ok(isSignedBy(parseNote(note)!, verifier));
  // base64 of 0x01 and the seed: PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALV…
  const seed = Buffer.from('AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz', 'base64').subarray(1);
  t.equal(signedNote('PeterNeumann', text, [signerOf(seed)]), note, 'Ed25519 gives the same bytes');
});

t.test('a note that was changed in any place is not that note any more', async (t) => {
  const signer = newSigner();
  const verifier = { name: 'sallyport/dep_1', publicKey: signer.publicKey };
  const note = signedNote(verifier.name, 'sallyport/dep_1/1\n3\nroot\n', [signer]);
  t.ok(isSignedBy(parseNote(note)!, verifier));
  const passed: number[] = [];
  for (let at = 0; at < note.length; at += 1) {
    const changed = note.slice(0, at) + String.fromCharCode(note.charCodeAt(at) ^ 1) + note.slice(at + 1);
    const parsed = parseNote(changed);
    if (parsed !== null && isSignedBy(parsed, verifier)) passed.push(at);
  }
  t.same(passed, []);
  const other = newSigner();
  t.notOk(isSignedBy(parseNote(note)!, { ...verifier, publicKey: other.publicKey }));
  t.notOk(isSignedBy(parseNote(note)!, { ...verifier, name: 'sallyport/dep_2' }));
});

t.test('signatures of strangers are passed over, one of ours that is wrong is not', async (t) => {
  const [mine, strange] = [newSigner(), newSigner()];
  const verifier = { name: 'log', publicKey: mine.publicKey };
  const both = signedNote('log', 'text\n', [strange, mine]);
  t.ok(isSignedBy(parseNote(both)!, verifier));
  t.notOk(isSignedBy(parseNote(signedNote('log', 'text\n', [strange]))!, verifier));
  const forged = signedNote('log', 'other\n', [mine]).replace('other', 'text');
  const lines = `${both}${forged.slice(forged.indexOf('— '))}`;
  t.notOk(isSignedBy(parseNote(lines)!, verifier), 'a second one that does not verify');
});

t.test('what is no note, or no key, is none', async (t) => {
  const good = signedNote('log', 'text\n', [newSigner()]);
  const bad = [
    '',
    'text\n',
    'text\n\n',
    good.slice(0, -1),
    good.replace('— ', '- '),
    good.replace('text', 'te\u0000xt'),
    good.replace('text', 'te\rxt'),
    good.replace('text', '\ud800'),
    good.replace(/ \S+\n$/, ' AAAA\n'),
    `${'x'.repeat(1024 * 1024)}${good}`,
    good + good.slice(good.indexOf('— ')).repeat(16),
  ];
  for (const text of bad) t.equal(parseNote(text), null, JSON.stringify(text.slice(0, 40)));
  for (const text of ['', 'a+b+c', example.verifier.replace('c74f20a3', 'c74f20a4'), ` ${example.verifier}`])
    t.equal(parseVerifier(text), null);
  for (const text of ['no newline', 'control\u0007\n'])
    t.throws(() => signedNote('log', text, [newSigner()]), TypeError);
});

t.test('a file of notes falls into its notes, and what is none between them is told', async (t) => {
  const signer = newSigner();
  const notes = [1, 2, 3].map((n) => signedNote('log', `log/${n}\n${n}\n`, [signer]));
  t.same(await split(notes.join('')), notes);
  t.same(await split(`\n${notes.join('\n\n')}\n\n`), notes);
  for (const end of [8, 12, -1, -20, -90])
    t.same(
      await split(`${notes[0]}\n${notes[1]?.slice(0, end)}\n\n${notes[2]}`),
      [notes[0], end === -1 ? notes[1] : null, notes[2]],
      `torn at ${end}`,
    );
  t.same(await split(`${notes[0]}${notes[1]?.slice(0, 8)}`), [notes[0], null], 'a torn end');
  t.same(await split(`\n\nsomething else\n\n${notes[1]}`), [null, notes[1]]);
  t.same(await split(''), []);
});
