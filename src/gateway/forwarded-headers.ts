import type { Provider } from '../providers/provider.ts';

/**
 * The request headers that go upstream: the provider's allow-list and nothing else, so that no credential, cookie, hop-by-hop or
 * forwarding header has to be thought of. Nominated ones (`connection: x`) are hop-by-hop by definition.
 *
 * @param rawHeaders name, value, … as they came.
 * @returns name, value, … for the egress; without host, credential and (for buffers) content-length, which are the egress's own.
 */
export function requestHeaders(
  provider: Provider,
  rawHeaders: readonly string[],
  options: {
    /** The answer is metered or searched for the key, and so has to come uncompressed. */
    isRead: boolean;
    isStreamed: boolean;
    /** The body came compressed and goes out unpacked. */
    isUnpacked: boolean;
    /** Bytes that a streamed body is longer by than the one that came. */
    lengthChange?: number;
    isOwnKey: boolean;
  },
): string[] {
  const nominated = nominatedBy(rawHeaders);
  const out: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] as string).toLowerCase();
    if (name === 'accept-encoding') {
      // Where nothing is read the client's own wish goes through.
      if (!options.isRead && nominated?.has(name) !== true) out.push(name, rawHeaders[i + 1] as string);
      continue;
    }
    if (name === 'content-length') {
      const length = rawHeaders[i + 1] as string;
      const { isStreamed, lengthChange = 0 } = options;
      if (isStreamed) out.push(name, lengthChange === 0 ? length : String(Number(length) + lengthChange));
      continue;
    }
    if (name === 'content-encoding' && options.isUnpacked) continue;
    const isAllowed =
      provider.requestHeaders.has(name) || (options.isOwnKey && provider.ownKeyHeaders.has(name));
    if (!isAllowed || nominated?.has(name) === true) continue;
    out.push(name, rawHeaders[i + 1] as string);
  }
  if (options.isRead) out.push('accept-encoding', 'identity');
  return out;
}

function nominatedBy(rawHeaders: readonly string[]): Set<string> | null {
  let names: Set<string> | null = null;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if ((rawHeaders[i] as string).toLowerCase() !== 'connection') continue;
    for (const name of (rawHeaders[i + 1] as string).toLowerCase().split(',')) {
      const trimmed = name.trim();
      if (trimmed === 'keep-alive' || trimmed === 'close') continue;
      names ??= new Set();
      names.add(trimmed);
    }
  }
  return names;
}

/** Never taken over from a provider whatever its list says: they are about its connection or its site, not its answer. */
const never: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
  'trailer',
  'te',
  'proxy-authenticate',
  'set-cookie',
  'alt-svc',
  'server',
  'location',
  'content-security-policy',
  'strict-transport-security',
]);

/** The answer headers that go to the client, flat. `keepLength` is false where bytes are held back or added. */
export function answerHeaders(
  provider: Provider,
  headers: readonly [string, string][],
  keepLength: boolean,
): string[] {
  const out: string[] = [];
  let nominated: Set<string> | null = null;
  for (const [name, value] of headers) {
    if (name === 'connection')
      nominated = new Set(
        value
          .toLowerCase()
          .split(',')
          .map((part) => part.trim()),
      );
  }
  for (const [name, value] of headers) {
    if (never.has(name) || nominated?.has(name) === true) continue;
    if (name === 'content-length') {
      if (keepLength) out.push(name, value);
      continue;
    }
    if (name.startsWith('x-sallyport-') || name === 'x-request-id') continue;
    if (name === 'content-type' || name === 'content-encoding' || provider.responseHeaders(name))
      out.push(name, value);
  }
  return out;
}

export function headerOf(headers: readonly [string, string][], wanted: string): string | null {
  for (const [name, value] of headers) if (name === wanted) return value;
  return null;
}
