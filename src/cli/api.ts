import { SallyportError } from '../errors.ts';
import { AnsweredError } from './failure.ts';
import { readAll, type Transport } from './transport.ts';

type Json = Readonly<Record<string, unknown>>;

/** `/api` with JSON in and out. Answers are taken as WIRE.md has them; errors are thrown with their code and fix. */
export interface Api {
  call<T>(
    method: string,
    path: string,
    body?: Json | Buffer | null,
    headers?: Readonly<Record<string, string>>,
  ): Promise<T>;
  /** What is no JSON document, as it came. */
  text(path: string): Promise<string>;
  /** All pages of a list. */
  list<T>(path: string, query?: Readonly<Record<string, string | null>>): Promise<T[]>;
  /** What a GET answers with, as it comes. @throws {SallyportError} GATEWAY_UNREACHABLE: no gateway runs */
  stream(path: string, headers?: Readonly<Record<string, string>>): Promise<AsyncIterable<Buffer>>;
}

/** A list of more is for the REST interface with its cursor, not for a terminal. */
const maxPages = 500;

export function createApi(transport: Transport): Api {
  async function call<T>(
    method: string,
    path: string,
    body: Json | Buffer | null = null,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<T> {
    const bytes = body === null || Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
    const answer = await transport.request(method, path, bytes, headers);
    const document = parse(answer.body);
    if (answer.status >= 200 && answer.status < 300 && document !== null) return document as T;
    throw errorOf(answer.status, document);
  }

  async function list<T>(path: string, query: Readonly<Record<string, string | null>> = {}): Promise<T[]> {
    const rows: T[] = [];
    let cursor: string | null = null;
    for (let page = 0; page < maxPages; page += 1) {
      const part: { data: T[]; nextCursor: string | null } = await call(
        'GET',
        path + queryOf({ ...query, limit: '200', cursor }),
      );
      rows.push(...part.data);
      cursor = part.nextCursor;
      if (cursor === null) break;
    }
    return rows;
  }

  async function text(path: string): Promise<string> {
    const { status, body } = await transport.request('GET', path, null, {});
    if (status === 200) return body.toString('utf8');
    throw errorOf(status, parse(body));
  }

  async function stream(
    path: string,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<AsyncIterable<Buffer>> {
    if (transport.stream === null) {
      throw new SallyportError('GATEWAY_UNREACHABLE', 'No gateway runs here, and this is read from one.', {
        fix: 'Start the gateway with npm start, or name one with --url.',
      });
    }
    const answer = await transport.stream(path, headers);
    if (answer.status === 200) return answer.body;
    throw errorOf(answer.status, parse(await readAll(answer.body)));
  }

  return Object.freeze({ call, text, list, stream });
}

/** `?a=b`, without what is null; empty for nothing. */
export function queryOf(members: Readonly<Record<string, string | null>>): string {
  const given = Object.entries(members).filter((entry): entry is [string, string] => entry[1] !== null);
  return given.length === 0 ? '' : `?${new URLSearchParams(given).toString()}`;
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return null;
  }
}

function errorOf(status: number, document: unknown): AnsweredError {
  const { code, detail, title, fix, errors } = (document ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof code !== 'string') {
    return new AnsweredError(
      'GATEWAY_UNREACHABLE',
      `What answered with status ${status} is not a Sallyport gateway.`,
      'Check --url and SALLYPORT_URL; a proxy in between may have answered.',
    );
  }
  const message = [detail, title, code].find((text) => typeof text === 'string') ?? code;
  const places = (Array.isArray(errors) ? (errors as { path?: unknown; message?: unknown }[]) : [])
    .map((error) => ({ path: String(error.path), text: String(error.message) }))
    .filter(({ text }) => !message.includes(text))
    .map(({ path, text }) => ` ${path} ${text}.`);
  return new AnsweredError(code, message + places.join(''), typeof fix === 'string' ? fix : '');
}
