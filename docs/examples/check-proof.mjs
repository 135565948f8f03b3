// Checks a proof of GET /api/audit/proof from files alone, with Node 20 or newer and nothing else:
//   node check-proof.mjs --key VERIFIER [--receipt RECEIPT] [--copy checkpoints.txt] proof.json
// VERIFIER: `sallyport/dep_…+<key id>+<base64>`, of a key of the deployment, got some other way than with the proof.
// RECEIPT:  the header x-sallyport-receipt of the answer that the proof is about.
// --copy:   checkpoints that were kept outside; the proof's has to be among them, and they have to hang together.
//           Introductions of keys that stand there are read, too.
// Ends with 0 where all of it holds; else with 1, and says what does not.
import { createHash, createPublicKey, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';

const options = { key: null, receipt: null, copy: null, proof: null };
for (let i = 2; i < process.argv.length; i += 1) {
  const word = process.argv[i];
  if (!word.startsWith('--')) options.proof = word;
  else if (Object.hasOwn(options, word.slice(2))) options[word.slice(2)] = process.argv[(i += 1)] ?? null;
  else refuse(`no such option: ${word}`);
}

function refuse(why) {
  console.error(`REFUSED: ${why}`);
  process.exit(1);
}
process.on('uncaughtException', ({ message }) => refuse(`it cannot be read: ${message}`));
const demand = (holds, why) => holds || refuse(why);
const sha256 = (...parts) => createHash('sha256').update(Buffer.concat(parts.map((part) => Buffer.from(part)))).digest();
const fromHex = (text, why) => (/^[0-9a-f]{64}$/.test(text) ? Buffer.from(text, 'hex') : refuse(why));

/** C2SP signed-note, verifier keys: name, the first 4 bytes of SHA-256(name ‖ 0A ‖ 01 ‖ key), 01 ‖ key. */
function readKey(text) {
  const [, name, id, base64] = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})$/.exec(text) ?? refuse(`no verifier key: ${text}`);
  const bytes = Buffer.from(base64, 'base64');
  demand(bytes.length === 33 && bytes[0] === 1, 'the verifier key is not Ed25519');
  demand(sha256(`${name}\n`, bytes).toString('hex', 0, 4) === id, 'the parts of the verifier key do not belong together');
  // RFC 8410: what stands before the 32 bytes of every Ed25519 key in DER.
  const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), bytes.subarray(1)]);
  const key = createPublicKey({ key: der, format: 'der', type: 'spki' });
  return { text, name, id, key };
}

/** A text that ends in a newline, a blank line, and lines `— <name> <base64 of key id 4 ‖ signature 64>`. */
function readNote(note) {
  const [, text, rest] = /^([^]*\n)\n((?:— [^\s+]+ [A-Za-z0-9+/]+=*\n)+)$/.exec(note) ?? refuse('a note has not the form of a signed note');
  const signatures = rest.trimEnd().split('\n').map((line) => [line.split(' ')[1], Buffer.from(line.split(' ')[2], 'base64')]);
  return { text, signatures };
}

function isSigned({ text, signatures }, { name, id, key }) {
  const mine = signatures.filter(([signer, bytes]) => signer === name && bytes.toString('hex', 0, 4) === id);
  return mine.length > 0 && mine.every(([, bytes]) => verify(null, Buffer.from(text), key, bytes.subarray(4)));
}

/** RFC 8785: members sorted by UTF-16 code units, no white space. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const members = Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`);
  return `{${members.join(',')}}`;
}

/** A checkpoint: origin `<name>/<number>`, leaves, root, time, hash of the one before, streams with what of them is covered. */
function readCheckpoint(text, name) {
  const [origin, size, root, , previous, ...rest] = text.split('\n');
  const number = Number(origin.startsWith(`${name}/`) ? origin.slice(name.length + 1) : NaN);
  if (!(Number.isSafeInteger(number) && number > 0 && `${name}/${number}` === origin)) return null;
  const streams = rest.filter((line) => line.startsWith('stream ')).map((line) => line.split(' ').slice(1));
  return { number, size: Number(size), root, previous: previous.replace('previous ', ''), streams };
}

// 1. Keys: the pinned one, then those that it leads to. Each introduction is signed by the new key and by the one before it. Those of
// the copy come first: a proof made before a key took over lacks its introduction, and of two that take over from one key the copy's counts.
demand(options.key !== null && options.proof !== null, 'usage: check-proof.mjs --key VERIFIER [--receipt R] [--copy FILE] PROOF');
const pinned = readKey(options.key);
const proof = JSON.parse(readFileSync(options.proof, 'utf8'));
const copy = options.copy === null ? null : (readFileSync(options.copy, 'utf8').match(/^\S+\n(?:.+\n)+\n(?:— .+\n)+/gm) ?? []);
const trusted = [pinned];
demand(Array.isArray(proof.introductions), 'the proof cannot be read: its introductions are no list');
const kept = (copy ?? []).filter((note) => note.startsWith(`${pinned.name}/key\n`));
const line = [...new Set([...kept, ...proof.introductions])].map((note) => {
  const read = readNote(note);
  const [, name, key, replaces] = /^(\S+)\/key\nkey (\S+)\nreplaces (\S+)\nat \S+\n$/.exec(read.text) ?? refuse('an introduction does not introduce a key');
  const [fresh, old] = [readKey(key), replaces === '-' ? null : readKey(replaces)];
  demand(name === pinned.name && fresh.name === name && (old === null || old.name === name), 'an introduction is of another deployment');
  demand(isSigned(read, fresh) && (old === null || isSigned(read, old)), 'an introduction is not signed by the key that it introduces and the one before');
  return { fresh, old };
});
const isNew = (key) => !trusted.some(({ text }) => text === key.text);
const later = () => line.find(({ fresh, old }) => old?.text === trusted.at(-1).text && isNew(fresh))?.fresh;
const earlier = () => line.find(({ fresh, old }) => old !== null && fresh.text === trusted[0].text && isNew(old))?.old;
for (let key = later(); key !== undefined; key = later()) trusted.push(key);
for (let key = earlier(); key !== undefined; key = earlier()) trusted.unshift(key);

// 2. The checkpoint is signed by one of them.
const note = readNote(proof.checkpoint);
const signer = trusted.find((key) => isSigned(note, key)) ?? refuse('the checkpoint is signed by no key that the pinned one leads to');
const checkpoint = readCheckpoint(note.text, signer.name) ?? refuse('the note is no checkpoint of this deployment');

// 3. The record: its line is canonical, its hash is over the line and the hash before, and it is the receipt's.
const record = JSON.parse(proof.line);
demand(canonical(record) === proof.line, 'the line is not canonical JSON');
const { hash: own, ...content } = record;
const computed = sha256([2], fromHex(proof.previousHash, 'previousHash is no hash'), canonical(content));
demand(own === computed.toString('hex') && proof.hash === own, 'the hash is not that of the line');
const receipt = `${record.stream}.${record.seq}.${own.slice(0, 16)}`;
demand(proof.record === receipt, 'the proof names another record than its line');
demand(options.receipt === null || options.receipt === receipt, 'the proof is about another record than the receipt');

// 4. Its place: where the checkpoint says that this record of this stream is.
let place = -1;
let leaves = 0;
for (const [stream, first, next] of checkpoint.streams) {
  if (stream === record.stream && Number(first) <= record.seq && record.seq < Number(next)) place = leaves + record.seq - Number(first);
  leaves += Number(next) - Number(first);
}
demand(leaves === checkpoint.size && proof.treeSize === leaves, 'the sizes of tree, checkpoint and proof differ');
demand(place >= 0 && proof.leafIndex === place, 'the checkpoint does not cover the record at this place');

// 5. Leaf and path give the root (RFC 6962, 2.1; RFC 9162, 2.1.3.2).
let node = sha256([0], computed);
let used = 0;
for (let at = place, last = leaves - 1; last > 0; at = Math.floor(at / 2), last = Math.floor(last / 2)) {
  if (at % 2 === 0 && at === last) continue;
  const sibling = fromHex(proof.path[used++], 'the path is too short, or has something else than hashes');
  node = at % 2 === 1 ? sha256([1], sibling, node) : sha256([1], node, sibling);
}
demand(used === proof.path.length, 'the path is too long');
demand(node.toString('base64') === checkpoint.root, 'the path does not lead to the checkpoint’s root');

// 6. The copy: it has this very note, and each of its checkpoints names the one before, signed by a trusted key.
if (copy !== null) {
  let before = null;
  let isThere = false;
  for (const text of copy) {
    const read = readNote(text);
    const stated = readCheckpoint(read.text, signer.name);
    if (stated === null) continue;
    demand(trusted.some((key) => isSigned(read, key)), `checkpoint ${stated.number} of the copy is signed by no key that the pinned one leads to`);
    const follows = before === null || (stated.number === before.number + 1 && stated.previous === before.hash);
    demand(follows, `checkpoint ${stated.number} of the copy does not follow the one before it`);
    before = { number: stated.number, hash: sha256(read.text).toString('hex') };
    isThere ||= text === proof.checkpoint;
  }
  demand(isThere, 'the checkpoint is not in the copy');
}
console.log(`OK: ${receipt}, ${record.event} of ${record.at}, is record ${place + 1} of ${leaves} under checkpoint ${checkpoint.number}, signed by ${signer.text}`);
