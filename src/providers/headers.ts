/** What SDKs of Stainless (OpenAI, Anthropic, Groq) tell about themselves. */
const stainless = [
  'arch',
  'async',
  'custom-poll-interval',
  'helper',
  'helper-method',
  'lang',
  'os',
  'package-version',
  'poll-helper',
  'read-timeout',
  'retry-count',
  'runtime',
  'runtime-version',
  'stream-helper',
  'timeout',
].map((name) => `x-stainless-${name}`);

/**
 * Request headers that go to any provider. Not among them, because the gateway writes them itself: host, framing, the
 * credential, accept-encoding. Cookies, forwarding and proxy headers go to none.
 */
export const requestHeaderNames: readonly string[] = [
  'accept',
  'accept-language',
  'content-encoding',
  'content-language',
  'content-type',
  'idempotency-key',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'range',
  'user-agent',
  ...stainless,
];

/**
 * Answer headers of any provider. Location, set-cookie, alt-svc, server, security policies and the provider's own request id
 * are not relayed: they speak of another host than the one that the client called, or stand in the way of ours.
 */
const common = new Set([
  'accept-ranges',
  'age',
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-range',
  'content-type',
  'etag',
  'expires',
  'last-modified',
  'retry-after',
  'retry-after-ms',
  'x-should-retry',
]);

/** Whose account a call was billed to is not the caller's to know: the key may be shared or managed. */
const identifying = /(?:^|-)(?:organization|organization-id|project|project-id|workspace-id|account-id)$/;

export function isResponseHeader(name: string, relays: readonly string[]): boolean {
  if (identifying.test(name)) return false;
  if (common.has(name) || name.startsWith('x-ratelimit-')) return true;
  return relays.some((relay) => (relay.endsWith('-') ? name.startsWith(relay) : name === relay));
}

const idHeaders = ['x-request-id', 'request-id', 'x-goog-request-id'];

/** The provider's id of this call: one word of at most 128 characters, else null. */
export function requestIdOf(headers: readonly (readonly [string, string])[]): string | null {
  for (const idHeader of idHeaders) {
    const value = valueOf(headers, idHeader);
    if (value !== null && /^[\w.:/+=-]{1,128}$/.test(value)) return value;
  }
  return null;
}

function valueOf(headers: readonly (readonly [string, string])[], wanted: string): string | null {
  for (const [name, value] of headers)
    if (name.length === wanted.length && name.toLowerCase() === wanted) return value;
  return null;
}
