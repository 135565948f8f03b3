import { ipv6Words, mappedIpv4 } from '../ip-words.ts';

/**
 * What counts as one client: an IPv4 address, or an IPv6 /64, because every subscriber has at least 2^64 addresses of his own
 * (RFC 6177). IPv4-mapped IPv6 counts as its IPv4. Other text counts as itself, cut to a bound.
 */
export function addressGroup(ip: string): string {
  const words = ipv6Words(ip);
  if (words === null) return ip.slice(0, 64);
  const group = words.slice(0, 4).map((word) => word.toString(16));
  return mappedIpv4(words) ?? `${group.join(':')}::/64`;
}
