/**
 * Headers that a provider key may be sent in. An allow-list, because a payload may have been made by a client: with `host`, `cookie`
 * or `transfer-encoding` a stored key could steer the request that carries it.
 */
const named: ReadonlySet<string> = new Set([
  'authorization',
  'api-key',
  'apikey',
  'api-token',
  'access-token',
  'private-token',
  'subscription-key',
  'ocp-apim-subscription-key',
  'cf-aig-authorization',
]);

/** `x-forwarded-for` and its like say who calls; `x-sallyport-…` is ours; `x-http-method…` changes the request. */
const refused =
  /^x-(?:forwarded|real-|client-|original|rewrite|http-method|method-override|sallyport|envoy|cluster)/;

/** `authorization`, some known names, or `x-…`; lower case, up to 64 characters. */
export function isCredentialHeader(name: string): boolean {
  return named.has(name) || (/^x-[a-z0-9](?:[a-z0-9-]{0,60}[a-z0-9])?$/.test(name) && !refused.test(name));
}
