import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';

/**
 * The client's address: the peer's, unless the peer is a trusted proxy; then the rightmost address of `x-forwarded-for` that is not one.
 * What stands left of it the client may have written himself.
 */
export interface ClientAddresses {
  of(request: IncomingMessage): string;
  /** Whether the peer may be believed about where a request came from and how. */
  isTrustedPeer(request: IncomingMessage): boolean;
}

export function createClientAddresses(trustedProxies: readonly string[]): ClientAddresses {
  const trusted = new BlockList();
  for (const entry of trustedProxies) {
    const [address = '', bits] = entry.split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    if (bits === undefined) trusted.addAddress(address, family);
    else trusted.addSubnet(address, Number(bits), family);
  }
  const isTrusted = (address: string): boolean =>
    trustedProxies.length > 0 &&
    isIP(address) !== 0 &&
    trusted.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
  const peerOf = (request: IncomingMessage): string => plain(request.socket.remoteAddress ?? '');
  return Object.freeze({
    of(request: IncomingMessage) {
      const peer = peerOf(request);
      if (!isTrusted(peer)) return peer;
      const hops = String(request.headers['x-forwarded-for'] ?? '')
        .split(',')
        .map((hop) => plain(hop.trim()));
      for (const hop of hops.toReversed()) {
        if (isIP(hop) === 0) break;
        if (!isTrusted(hop)) return hop;
      }
      return peer;
    },
    isTrustedPeer: (request: IncomingMessage) => isTrusted(peerOf(request)),
  });
}

export function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.');
}

/** IPv4 behind an IPv6 socket arrives as `::ffff:1.2.3.4`. */
function plain(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}
