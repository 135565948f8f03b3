import type { IncomingMessage } from 'node:http';
import { BlockList, isIP, SocketAddress } from 'node:net';

/**
 * The client's address: the peer's, unless the peer is a trusted proxy; then the rightmost address of `x-forwarded-for` that is not one.
 * What stands left of it the client may have written himself.
 */
export interface ClientAddresses {
  /** IPv4 behind IPv6 as IPv4, without zone and port. Where proxies say nothing that is an address: the last of them that is known. */
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
      const hops = String(request.headers['x-forwarded-for'] ?? '').split(',');
      let known = peer;
      for (let at = hops.length - 1; at >= 0 && isTrusted(known); at -= 1) {
        const hop = addressIn((hops[at] as string).trim());
        if (hop === null) break;
        known = hop;
      }
      return known;
    },
    isTrustedPeer: (request: IncomingMessage) => isTrusted(peerOf(request)),
  });
}

export function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.');
}

/** Some proxies write the port too: `192.0.2.7:4711`, `[2001:db8::7]:4711`. */
function addressIn(hop: string): string | null {
  const [, bare = hop] = /^\[([^[\]]+)\](?::\d{1,5})?$/.exec(hop) ?? /^([\d.]+):\d{1,5}$/.exec(hop) ?? [];
  if (isIP(bare) === 6)
    return plain(new SocketAddress({ address: withoutZone(bare), family: 'ipv6' }).address);
  return isIP(bare) === 4 ? bare : null;
}

/** IPv4 behind an IPv6 socket arrives as `::ffff:1.2.3.4`. */
function plain(address: string): string {
  if (!address.includes(':')) return address;
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : withoutZone(address);
}

function withoutZone(address: string): string {
  return address.split('%', 1)[0] as string;
}
