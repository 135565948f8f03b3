import { SallyportError } from '../errors.ts';
import type { Dialect } from '../dialects/dialect.ts';
import { refuseSecretInUrl } from './secret-in-url.ts';

/** The base URLs that clients know (GATEWAY.md, "What clients see"). */
export type BaseUrl =
  | { readonly kind: 'unified'; readonly dialect: Dialect }
  | { readonly kind: 'native'; readonly dialect: Dialect; readonly provider: string }
  | { readonly kind: 'custom'; readonly dialect: 'openai'; readonly name: string };

export interface Place {
  readonly base: BaseUrl;
  /** What follows the base URL, with its leading slash: `/chat/completions` under /v1, `/v1/chat/completions` under /openai. */
  readonly rest: string;
  /** `?…` or empty, the token taken out. */
  readonly query: string;
}

const native: ReadonlyMap<string, Dialect> = new Map([
  ['openai', 'openai'],
  ['anthropic', 'anthropic'],
  ['google', 'google'],
  ['groq', 'openai'],
  ['xai', 'openai'],
]);

/**
 * One model, by a name that holds slashes, where a provider of OpenAI's dialect or a custom one lists them: `/v1/models/openai%2Fgpt-oss-20b` is
 * what SDKs make of it, and goes on as it is. Read with a slash or without, it is a path below `models`, and no name in it is made of dots.
 */
const slashedModel =
  /^\/(?:openai|groq|xai|custom)\/[^%]*\/models\/(?:[a-z0-9](?:[\w.:@~+-]|%3a)*(?:%2f(?!$)|$)){2,}$/i;

/** SDKs of the providers add it to their base URL, and the AI SDK does not: the first thing that goes wrong. No provider serves such a path. */
const versionTwice = /^(\/openai\/v1|\/v1(?:beta|alpha)?)(?:\1|\/v1(?:beta|alpha)?)(?:\/|$)/;

export const baseUrls = '/v1, /openai/v1, /anthropic, /google, /groq/openai/v1, /xai/v1, /custom/<name>';

/** Whether a path belongs to the data plane at all; everything else is the admin side's or nobody's. */
export function isDataPlane(url: string): boolean {
  const first = /^\/([a-z0-9]+)(?:[/?]|$)/.exec(url)?.[1] ?? '';
  return first === 'v1' || first === 'custom' || native.has(first);
}

/** The dialect in which errors for this path are told, also where the path itself is refused. */
export function dialectOf(url: string): Dialect {
  return native.get(/^\/([a-z]+)/.exec(url)?.[1] ?? '') ?? 'openai';
}

/**
 * Reads a request target of the data plane. Paths are taken as they are: whatever a provider's router could read otherwise than
 * we do (`//`, `\`, `..`, encoded slashes, dots and NUL) is refused rather than mended, so that no check of ours looks at another path than theirs.
 *
 * @throws {SallyportError} NOT_FOUND naming the base URLs, or REQUEST_INVALID for a path that is refused.
 */
export function readPlace(url: string): Place {
  const mark = url.indexOf('?');
  const given = mark < 0 ? url : url.slice(0, mark);
  // SDKs encode the slash in `openai/gpt-4o` when they ask for one model.
  const path = given.startsWith('/v1/models/') ? given.replaceAll(/%2f/gi, '/') : given;
  const query = mark < 0 ? '' : url.slice(mark);
  const judged = path.includes('%') && slashedModel.test(path) ? path.replaceAll(/%2f/gi, '/') : path;
  if (/[^\x21-\x7e]|\\|\/\/|%(?:2f|2e|5c|00)|\/\.{1,2}(?:\/|$)|%(?![0-9a-f]{2})/i.test(judged)) {
    throw new SallyportError(
      'REQUEST_INVALID',
      'The path has a doubled slash, a dot segment or an encoded slash, dot or NUL.',
    );
  }
  if (url.includes('#'))
    throw new SallyportError('REQUEST_INVALID', 'A fragment (#…) has no place in a request.');
  refuseSecretInUrl(path);
  const end = path.indexOf('/', 1);
  const first = end < 0 ? path.slice(1) : path.slice(1, end);
  const rest = end < 0 ? '' : path.slice(end);
  if (first === 'v1') {
    if (rest === '/v1' || rest.startsWith('/v1/')) {
      throw twice('/v1', 'Take one /v1 away: the base URL ends with /v1 and the SDK adds the rest.');
    }
    return { base: { kind: 'unified', dialect: 'openai' }, rest: needRest(rest, first), query };
  }
  const dialect = native.get(first);
  if (dialect !== undefined) {
    const [, version] = versionTwice.exec(rest) ?? [];
    if (version !== undefined)
      throw twice(version, `The SDK adds ${version} itself: the base URL ends with /${first}.`);
    return { base: { kind: 'native', dialect, provider: first }, rest: needRest(rest, first), query };
  }
  if (first === 'custom') {
    const next = rest.indexOf('/', 1);
    const name = next < 0 ? rest.slice(1) : rest.slice(1, next);
    if (/^[a-z0-9][a-z0-9-]{0,62}$/.test(name)) {
      const base = { kind: 'custom', dialect: 'openai', name } as const;
      return { base, rest: next < 0 ? '/' : rest.slice(next), query };
    }
  }
  throw new SallyportError('NOT_FOUND', `Nothing is served here. Base URLs: ${baseUrls}.`, {
    fix: 'Set your SDK’s base URL to one of these on this host.',
  });
}

function twice(what: string, fix: string): SallyportError {
  return new SallyportError('NOT_FOUND', `Your base URL has ${what} twice.`, { fix });
}

function needRest(rest: string, first: string): string {
  if (rest.length > 1) return rest;
  throw new SallyportError('NOT_FOUND', `/${first} is a base URL: the path of a call has to follow it.`, {
    fix: `Base URLs: ${baseUrls}.`,
  });
}
