import { EgressError } from './egress-error.ts';
import { credentialHeaders, type EgressRequest } from './request.ts';

/**
 * Names that the caller may not set. `host` would move the TLS name and the virtual host away from the origin that the key is for; the
 * rest frames the message, and is undici's to write; hop-by-hop names end at this gateway.
 */
const ownedHeaders: ReadonlySet<string> = new Set([
  'host',
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authorization',
  'proxy-authenticate',
  'transfer-encoding',
  'te',
  'trailer',
  'upgrade',
  'expect',
  'cookie',
  'x-sallyport-hop',
]);

/** Why this request is not sent, or null. Header values, path and method are judged once more by undici. */
export function refusalOf(request: EgressRequest): EgressError | null {
  const { method, path, headers, credential } = request;
  // TRACE answers with the request, key and all; CONNECT would make a tunnel.
  if (method === 'TRACE' || method === 'CONNECT') return refuse(`${method} is not relayed.`);
  if (!path.startsWith('/')) return refuse('A path starts with a slash.');
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase();
    if (ownedHeaders.has(name)) return refuse(`The header ${name} is not the caller’s to set.`);
    // A second credential beside the placeholder's: the gateway token, most likely.
    if (credentialHeaders.has(name))
      return refuse(`The header ${name} may only carry a key out of the vault.`);
  }
  if (credential !== null) {
    if (!credentialHeaders.has(credential.header))
      return new EgressError('KEY_INVALID', 'A key may not go into this header.');
    if (!/^[\x20-\x7e]{0,32}$/.test(credential.prefix))
      return new EgressError('KEY_INVALID', 'The key’s prefix is not valid.');
  }
  return null;
}

function refuse(message: string): EgressError {
  return new EgressError('EGRESS_REFUSED', message);
}
