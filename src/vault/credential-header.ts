import { credentialHeaders } from '../egress/request.ts';

/**
 * May a provider key be sent in this header (lower case)? The injector's own list: what it would refuse is not stored to begin with, and
 * a payload, which a client may have made, steers the request with no `host`, `cookie` or `transfer-encoding`.
 */
export function isCredentialHeader(name: string): boolean {
  return credentialHeaders.has(name);
}
