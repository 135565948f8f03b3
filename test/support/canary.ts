import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { sql } from 'kysely';
import type { Store } from '../../src/db/store.ts';
import { parseSealSecret } from '../../src/seal-text.ts';
import { countIn, foundOf, type Pattern } from '../leak/forms.ts';
import { searchFolder } from '../leak/file-search.ts';

/** What every whole gateway of the suite is searched for when its test ends. */
export interface Canary {
  /** A token, a seal or a provider key of this gateway; what is too short to be told from chance is left out. */
  watch(secret: unknown): void;
  /** Watches the seals and provider keys that come with requests, and keeps what the gateway itself answers with errors. */
  tap(server: Server): void;
  /** @throws naming where which of the secrets stands. */
  search(places: {
    readonly store: Store;
    readonly journalDir: string;
    readonly logLines: readonly string[];
    readonly metrics: string;
  }): Promise<void>;
}

const leastLength = 24;
const pieceLength = 16;
const mostRows = 20_000;
const mostAnswers = 2000;

export function createCanary(): Canary {
  const secrets = new Set<string>();
  const answers: Buffer[] = [];

  function watch(secret: unknown): void {
    if (typeof secret !== 'string' || !isTold(secret)) return;
    secrets.add(secret);
    const ikm = secret.startsWith('sps_') ? parseSealSecret(secret) : null;
    // A table would show the bytes that the text stands for.
    if (ikm !== null) for (const encoding of ['hex', 'base64'] as const) secrets.add(ikm.toString(encoding));
  }

  return Object.freeze<Canary>({
    watch,
    tap(server) {
      if (server.listenerCount('upgrade') > 0) {
        server.prependListener('upgrade', (request: IncomingMessage) => {
          for (const secret of secretsOf(request.rawHeaders)) watch(secret);
        });
      }
      server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
        for (const secret of secretsOf(request.rawHeaders)) watch(secret);
        const chunks: Buffer[] = [];
        for (const name of ['write', 'end'] as const) {
          const plain = response[name].bind(response) as (...args: unknown[]) => unknown;
          const kept = (...args: unknown[]): unknown => {
            const [chunk] = args;
            if (isOurError(response) && answers.length < mostAnswers) {
              if (typeof chunk === 'string' || chunk instanceof Uint8Array) chunks.push(Buffer.from(chunk));
            }
            return plain(...args);
          };
          Object.assign(response, { [name]: kept });
        }
        response.once('close', () => {
          if (isOurError(response))
            answers.push(Buffer.from(JSON.stringify(response.getHeaders())), ...chunks);
        });
      });
    },
    async search({ store, journalDir, logLines, metrics }) {
      const patterns = [...secrets].flatMap((secret, n) => formsOfAny(`secret ${n}`, secret));
      if (patterns.length === 0) return;
      const said = Buffer.from(logLines.join('\n'));
      const found = {
        log: foundIn(said, patterns),
        metrics: foundIn(Buffer.from(metrics), patterns),
        errors: foundIn(Buffer.concat(answers), patterns),
        journal: searchFolder(journalDir, patterns).found,
        tables: foundIn(await dump(store), patterns),
      };
      const places = Object.entries(found).filter(([, names]) => Object.keys(names).length > 0);
      if (places.length > 0)
        throw new Error(`a secret leaked: ${JSON.stringify(Object.fromEntries(places))}`);
    },
  });
}

/** Too short, or one letter over and over, it would be found where nobody put it. */
function isTold(secret: string): boolean {
  return secret.length >= leastLength && new Set(middleOf(secret)).size > pieceLength / 4;
}

function middleOf(secret: string): Buffer {
  const bytes = Buffer.from(secret, 'utf8');
  const from = (bytes.length - pieceLength) >> 1;
  return bytes.subarray(from, from + pieceLength);
}

/** What comes with a call and is kept nowhere; a seal stands in its own header or behind a token. */
function secretsOf(rawHeaders: readonly string[]): readonly string[] {
  return rawHeaders.flatMap((value, i) => {
    const name = rawHeaders[i - 1]?.toLowerCase() ?? '';
    if (i % 2 === 0) return [];
    if (name === 'x-sallyport-provider-key') return [value];
    return value.match(/sps_[\w-]{49}/g) ?? [];
  });
}

function isOurError(response: ServerResponse): boolean {
  return response.statusCode >= 400 && (response.hasHeader('x-sallyport-code') || isProblem(response));
}

function isProblem(response: ServerResponse): boolean {
  return String(response.getHeader('content-type') ?? '').startsWith('application/problem+json');
}

/** Raw, UTF-16, base64 and base64url in three alignments, hex in both cases, and as it stands in a URL. */
function formsOfAny(label: string, secret: string): readonly Pattern[] {
  const middle = middleOf(secret);
  const forms = new Map<string, Buffer>([
    [`${label} raw`, middle],
    [`${label} utf-16`, Buffer.from(middle.toString('latin1'), 'utf16le')],
    [`${label} hex`, Buffer.from(middle.toString('hex'))],
    [`${label} HEX`, Buffer.from(middle.toString('hex').toUpperCase())],
    [`${label} url`, Buffer.from(encodeURIComponent(middle.toString('latin1')))],
  ]);
  for (const encoding of ['base64', 'base64url'] as const) {
    for (const shift of [0, 1, 2]) {
      const text = Buffer.concat([Buffer.alloc(shift), middle]).toString(encoding);
      forms.set(
        `${label} ${encoding} +${shift}`,
        Buffer.from(text.slice(4, 4 * Math.floor((shift + pieceLength) / 3))),
      );
    }
  }
  return [...forms].map(([name, form]) => ({ name, bytes: form }));
}

function foundIn(text: Buffer, patterns: readonly Pattern[]): Record<string, number> {
  const counts = new Map<string, number>();
  countIn(text, patterns, counts);
  return foundOf(counts);
}

/** Every table as text; bytea is hex in it. A database that the test took away is not asked. */
export async function dump(store: Store): Promise<Buffer> {
  const texts = await store
    .asSystem(async (tx) => {
      const { rows: tables } = await sql<{ name: string }>`
        select quote_ident(relname) as name from pg_class
         where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p') and not relispartition
           and relname not like 'kysely%'`.execute(tx);
      const all: string[] = [];
      for (const { name } of tables) {
        const { rows } = await sql<{
          line: string;
        }>`select t::text as line from ${sql.raw(name)} t limit ${mostRows}`.execute(tx);
        all.push(...rows.map(({ line }) => line));
      }
      return all;
    })
    .catch(() => []);
  return Buffer.from(texts.join('\n'));
}
