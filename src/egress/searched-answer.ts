import { decoded } from '../content-coding.ts';
import type { AnswerSearch } from './answer-search.ts';
import { headerPairs } from './header-pairs.ts';

/** Of an error that comes compressed: as it came, and decoded. Whoever sends more says nothing that a person reads. */
const [maxCodedBytes, maxErrorBytes] = [64 * 1024, 256 * 1024];

/** About the bytes as they were coded. */
const codedHeaders: ReadonlySet<string> = new Set([
  'content-encoding',
  'content-length',
  'content-md5',
  'content-digest',
  'digest',
  'etag',
]);

const nothing = Buffer.alloc(0);

/** One answer on its way through the search for the key. */
export class SearchedAnswer {
  readonly #search: AnswerSearch;
  readonly #status: number;
  readonly #hasBody: boolean;
  /** Of an error that came compressed; null once it is too long. */
  #coded: { readonly coding: string; chunks: Buffer[] | null; bytes: number } | null = null;

  constructor(search: AnswerSearch, status: number, method: string) {
    this.#search = search;
    this.#status = status;
    this.#hasBody = method !== 'HEAD' && status !== 204 && status !== 304;
  }

  /**
   * Cleaned on the bytes, before any of it is a string. A name that had the key in it is left out.
   *
   * @returns null where the body cannot be searched: it is compressed, although the request asked that it be not, and has no bound.
   */
  headers(raw: readonly Buffer[]): [string, string][] | null {
    const kept: Buffer[] = [];
    for (let i = 0; i + 1 < raw.length; i += 2) {
      const [name, value] = [raw[i] as Buffer, raw[i + 1] as Buffer];
      const isTold = this.#search.clean(name);
      this.#search.clean(value);
      if (!isTold) kept.push(name, value);
    }
    const headers = headerPairs(kept);
    const coding = headers
      .filter(([name]) => name === 'content-encoding')
      .map(([, value]) => value.trim().toLowerCase())
      .filter((value) => value !== '' && value !== 'identity')
      .join();
    if (coding === '' || !this.#hasBody) return headers;
    if (this.#status < 400) return null;
    this.#coded = { coding, chunks: [], bytes: 0 };
    return headers.filter(([name]) => !codedHeaders.has(name));
  }

  /** @returns what goes on now; the chunk is the caller's no more. */
  push(chunk: Buffer): Buffer {
    const coded = this.#coded;
    if (coded === null) return this.#search.push(chunk);
    coded.bytes += chunk.length;
    if (coded.bytes > maxCodedBytes) coded.chunks = null;
    coded.chunks?.push(chunk);
    return nothing;
  }

  /** @returns the rest. Of an error that cannot be read nothing is left but its status. */
  end(): Buffer {
    if (this.#coded === null) return this.#search.end();
    const { coding, chunks, bytes } = this.#coded;
    if (chunks === null) return nothing;
    const plain = read(coding, Buffer.concat(chunks, bytes));
    this.#search.clean(plain);
    return plain;
  }
}

function read(coding: string, bytes: Buffer): Buffer {
  try {
    return decoded(coding, bytes, maxErrorBytes) ?? nothing;
  } catch {
    return nothing;
  }
}
