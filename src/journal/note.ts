import { createPublicKey, hash, verify } from 'node:crypto';

/**
 * Signed notes (C2SP, signed-note): a text that ends in a newline, a blank line, and for each signature
 * `— <key name> <base64 of key id 4 ‖ signature>`. Ours are Ed25519 (RFC 8032), of a key of 32 bytes and 64 of signature.
 */
export interface Note {
  /** What is signed, the last newline included. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

export interface NoteSignature {
  readonly name: string;
  readonly keyId: Buffer;
  readonly signature: Buffer;
}

/** A public key and the name that it signs under. */
export interface Verifier {
  readonly name: string;
  /** 32 bytes. */
  readonly publicKey: Buffer;
}

/** Whoever has the private half: the vault hands it in. */
export interface NoteSigner {
  readonly publicKey: Buffer;
  /** Ed25519 over the bytes: 64 bytes. */
  sign(bytes: Uint8Array): Buffer;
}

const ed25519 = 0x01;
/** A note lists the streams that went on: a thousand of them come to 150 KB. */
const maxNoteBytes = 1024 * 1024;
const maxSignatures = 16;
/** Key id and the shortest signature that there is: what is less was cut off. */
const shortestBytes = 68;

/** The first four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key). */
export function keyIdOf({ name, publicKey }: Verifier): Buffer {
  const input = Buffer.concat([Buffer.from(`${name}\n`), Buffer.of(ed25519), publicKey]);
  return hash('sha256', input, 'buffer').subarray(0, 4);
}

/** `<name>+<hex of key id>+<base64 of 0x01 ‖ public key>`: how a public key is handed to whoever checks notes. */
export function verifierText(verifier: Verifier): string {
  const key = Buffer.concat([Buffer.of(ed25519), verifier.publicKey]).toString('base64');
  return `${verifier.name}+${keyIdOf(verifier).toString('hex')}+${key}`;
}

/** Null: no such text, or its parts don't belong together. */
export function parseVerifier(text: string): Verifier | null {
  const [, name = '', id, base64 = ''] =
    /^([^\s+]{1,200})\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})$/.exec(text) ?? [];
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.length !== 33 || bytes[0] !== ed25519) return null;
  const verifier = { name, publicKey: bytes.subarray(1) };
  return keyIdOf(verifier).toString('hex') === id ? verifier : null;
}

/** @param text lines, each ended by a newline; no control characters besides. */
export function signedNote(name: string, text: string, signers: readonly NoteSigner[]): string {
  if (!text.endsWith('\n') || !isClean(text)) throw new TypeError('a note is lines of plain text');
  const bytes = Buffer.from(text);
  const lines = signers.map((signer) => {
    const id = keyIdOf({ name, publicKey: signer.publicKey });
    return `— ${name} ${Buffer.concat([id, signer.sign(bytes)]).toString('base64')}\n`;
  });
  return `${text}\n${lines.join('')}`;
}

/** Null for what is no note. Says nothing of who signed it. */
export function parseNote(note: string): Note | null {
  if (note.length > maxNoteBytes || !isClean(note)) return null;
  const end = note.lastIndexOf('\n\n');
  if (end < 0 || !note.endsWith('\n')) return null;
  const lines = note.slice(end + 2, -1).split('\n');
  if (lines.length > maxSignatures) return null;
  const signatures: NoteSignature[] = [];
  for (const line of lines) {
    const [, name = '', base64 = ''] = /^— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/.exec(line) ?? [];
    const bytes = Buffer.from(base64, 'base64');
    if (bytes.length < shortestBytes || bytes.toString('base64') !== base64) return null;
    signatures.push({ name, keyId: bytes.subarray(0, 4), signature: bytes.subarray(4) });
  }
  return { text: note.slice(0, end + 1), signatures };
}

/** Did this key sign it? As the specification has it: the signature with its name and id decides, others say nothing. */
export function isSignedBy({ text, signatures }: Note, verifier: Verifier): boolean {
  const id = keyIdOf(verifier);
  const mine = signatures.filter(({ name, keyId }) => name === verifier.name && keyId.equals(id));
  if (mine.length === 0) return false;
  const key = createPublicKey({
    key: verifier.publicKey,
    format: 'raw-public',
    asymmetricKeyType: 'ed25519',
  });
  const bytes = Buffer.from(text);
  return mine.every(({ signature }) => verify(null, bytes, key, signature));
}

/** Hex SHA-256 of what was signed: how one note names another. */
export function noteHash({ text }: Pick<Note, 'text'>): string {
  return hash('sha256', text, 'hex');
}

/**
 * The notes that stand one behind another, with blank lines between them or not, as long as they have none within their texts, which
 * ours have not; null in the place of what is none.
 */
export async function* notesOf(lines: AsyncIterable<string>): AsyncGenerator<string | null> {
  let note = '';
  let before = '';
  const whole = (): string | null => (parseNote(note) === null ? null : note);
  for await (const line of lines) {
    const isSignature = line.startsWith('— ');
    const isOver = before.startsWith('— ') || (before === '' && note !== '');
    if (isOver && !isSignature) {
      if (note.trim() !== '') yield whole();
      note = '';
    }
    before = line;
    if (note === '' && line === '') continue;
    if (note.length <= maxNoteBytes) note += `${line}\n`;
  }
  if (note.trim() !== '') yield whole();
}

/** No control character but the newline, and nothing that is no UTF-8. */
function isClean(text: string): boolean {
  // oxlint-disable-next-line no-control-regex -- the control characters are the point
  return !/[\u0000-\u0009\u000b-\u001f]/.test(text) && text.isWellFormed();
}
