import { randomFillSync } from 'node:crypto';
import { secretBuffer, secretCopy, wipe } from '../secret.ts';
import { keyForms } from './key-forms.ts';

/** Beside the masked keys for as long as the process lives: no copy of a key that waits for its answer is found by its bytes. */
const pad = wordsOf(secretBuffer(4096));
randomFillSync(pad);

/** Where forms lie open for the length of one search; never across a turn of the event loop. */
let scratch = wordsOf(secretBuffer(1024));
let scratchBytes = Buffer.from(scratch.buffer);

/** Stands in no form: keys hold no blank, and `*` is taken only where the key has none. */
const [star, blank] = [0x2a, 0x20];

const nothing = Buffer.alloc(0);

/** Bytes that belong to the key; `end` is exclusive, a negative start says that they began before. */
interface Stretch {
  readonly start: number;
  readonly end: number;
}

/**
 * Takes one key out of what a provider sends back, in every form of key-forms.ts: each byte of it becomes `*`, so that lengths and
 * framing stay. The same bytes are replaced however an answer is cut into chunks. Between two calls the key lies here masked only.
 */
export class AnswerSearch {
  /** The key until the first search, from then on its forms. */
  #masked: Uint32Array;
  #bytes: number;
  /** Ends of the forms; null until the first search. */
  #ends: readonly number[] | null = null;
  /** 1 for bytes with which a form begins. */
  #begins: Uint8Array | null = null;
  #longest = 0;
  #mark = star;
  /** The last bytes of the body so far, which may be the first of a form. */
  #held: Buffer | null = null;
  /** How many of these belong to a form that began before them. */
  #covered = 0;
  #found = 0;

  /** @param key  1 byte or more, each 0x21–0x7E; the caller's to wipe. */
  constructor(key: Uint8Array) {
    this.#bytes = key.length;
    this.#masked = masked(key);
  }

  /** How many times the key was found. */
  get found(): number {
    return this.#found;
  }

  /** Replaces the key in bytes that are whole in themselves. @returns whether it was there */
  clean(bytes: Buffer): boolean {
    return this.#search((forms) => {
      const stretches = this.#stretches(bytes, forms);
      this.#found += stretches.length;
      this.#replace(bytes, stretches, bytes.length);
      return stretches.length > 0;
    });
  }

  /**
   * The next bytes of a body. They are changed in place, and are the caller's no more.
   *
   * @returns what can go on: all but a tail that is the beginning of a form.
   */
  push(chunk: Buffer): Buffer {
    return this.#search((forms) => {
      const data = this.#joined(chunk);
      const stretches = this.#stretches(data, forms);
      const tail = this.#tailOf(data, forms);
      // Those within the tail are found again.
      this.#found += stretches.filter(({ start }) => start < tail).length;
      stretches.push({ start: -1, end: this.#covered });
      let covered = 0;
      for (const { start, end } of stretches) if (start < tail) covered = Math.max(covered, end - tail);
      wipe(this.#held);
      this.#held = tail === data.length ? null : secretCopy(data.subarray(tail));
      this.#covered = covered;
      this.#replace(data, stretches, tail);
      wipe(data.subarray(tail));
      return data.subarray(0, tail);
    });
  }

  /** The body is whole. @returns what was held back */
  end(): Buffer {
    const held = this.#held;
    if (held === null) return nothing;
    this.#held = null;
    const covered = this.#covered;
    this.#covered = 0;
    this.clean(held);
    held.fill(this.#mark, 0, covered);
    return held;
  }

  wipe(): void {
    this.#masked.fill(0);
    wipe(this.#begins, this.#held);
    this.#held = null;
    this.#bytes = 0;
    this.#ends = [];
  }

  #search<T>(look: (forms: Buffer) => T): T {
    if (this.#ends === null) this.#spellOut();
    const words = this.#masked.length;
    try {
      return look(unmask(this.#masked).subarray(0, this.#bytes));
    } finally {
      scratch.fill(0, 0, words);
    }
  }

  /** Most answers are never searched, so that the forms are made when the first is. */
  #spellOut(): void {
    const words = this.#masked.length;
    const key = unmask(this.#masked).subarray(0, this.#bytes);
    const { bytes, ends } = keyForms(key);
    if (key.includes(star)) this.#mark = blank;
    scratch.fill(0, 0, words);
    this.#masked.fill(0);
    this.#masked = masked(bytes);
    this.#bytes = bytes.length;
    const begins = new Uint8Array(256);
    let start = 0;
    for (const end of ends) {
      begins[bytes[start] as number] = 1;
      this.#longest = Math.max(this.#longest, end - start);
      start = end;
    }
    this.#begins = begins;
    this.#ends = ends;
    wipe(bytes);
  }

  #stretches(data: Buffer, forms: Buffer): Stretch[] {
    const found: Stretch[] = [];
    let start = 0;
    for (const end of this.#ends ?? []) {
      const form = forms.subarray(start, end);
      start = end;
      for (let at = data.indexOf(form); at >= 0;) {
        const stop = runEnd(data, form, at);
        found.push({ start: at, end: stop });
        at = data.indexOf(form, stop - form.length + 1);
      }
    }
    return found;
  }

  /** Where the longest end of `data` begins that is the beginning of a form and not all of it; its length where there is none. */
  #tailOf(data: Buffer, forms: Buffer): number {
    const { length } = data;
    for (let at = Math.max(0, length - this.#longest + 1); at < length; at += 1) {
      if (this.#begins?.[data[at] as number] !== 1) continue;
      let start = 0;
      for (const end of this.#ends ?? []) {
        const size = length - at;
        const isBeginning =
          size < end - start &&
          forms[start] === data[at] &&
          forms.compare(data, at, length, start, start + size) === 0;
        if (isBeginning) return at;
        start = end;
      }
    }
    return length;
  }

  #replace(data: Buffer, stretches: readonly Stretch[], before: number): void {
    for (const { start, end } of stretches)
      if (start < before) data.fill(this.#mark, Math.max(start, 0), Math.min(end, before));
  }

  #joined(chunk: Buffer): Buffer {
    const held = this.#held;
    if (held === null) return chunk;
    const data = secretBuffer(held.length + chunk.length);
    data.set(held);
    data.set(chunk, held.length);
    wipe(chunk);
    return data;
  }
}

/**
 * Where the last of the forms ends that begin at `at` and overlap as a text does that repeats itself. One look for each would take
 * the square of the answer's length where somebody's key is `aaaaaaaa`.
 */
function runEnd(data: Buffer, form: Buffer, at: number): number {
  const { length } = form;
  const next = data.indexOf(form, at + 1);
  const period = next - at;
  if (next < 0 || period >= length) return at + length;
  let end = next + length;
  while (end < data.length && data[end] === data[end - period]) end += 1;
  return at + length + Math.floor((end - at - length) / period) * period;
}

function masked(plain: Uint8Array): Uint32Array {
  const room = secretBuffer((plain.length + 3) & ~3);
  room.set(plain);
  const words = wordsOf(room);
  for (let i = 0; i < words.length; i += 1) words[i] = (words[i] as number) ^ (pad[i % pad.length] as number);
  return words;
}

/** In `scratch`, the caller's to wipe. */
function unmask(words: Uint32Array): Buffer {
  if (scratch.length < words.length) {
    scratch = wordsOf(secretBuffer(4 * words.length));
    scratchBytes = Buffer.from(scratch.buffer);
  }
  for (let i = 0; i < words.length; i += 1)
    scratch[i] = (words[i] as number) ^ (pad[i % pad.length] as number);
  return scratchBytes;
}

function wordsOf(bytes: Buffer): Uint32Array {
  return new Uint32Array(bytes.buffer);
}
