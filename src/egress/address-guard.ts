import { BlockList, isIP } from 'node:net';

/**
 * Addresses that a public origin may not have. IANA's special-purpose registries (RFC 6890) and the clouds' metadata services.
 * IPv4-mapped IPv6 is compared as IPv4 by BlockList itself, hence no rule of IPv6 here covers ::ffff:0:0/96.
 */
const ranges: readonly (readonly [string, number, 'ipv4' | 'ipv6'])[] = [
  ['0.0.0.0', 8, 'ipv4'], // unspecified, "this network"
  ['10.0.0.0', 8, 'ipv4'],
  ['100.64.0.0', 10, 'ipv4'], // CGNAT; Alibaba's metadata at 100.100.100.200
  ['127.0.0.0', 8, 'ipv4'],
  ['168.63.129.16', 32, 'ipv4'], // Azure's host agent
  ['169.254.0.0', 16, 'ipv4'], // link-local; metadata at 169.254.169.254
  ['172.16.0.0', 12, 'ipv4'],
  ['192.0.0.0', 24, 'ipv4'], // protocol assignments; Oracle's metadata at 192.0.0.192
  ['192.0.2.0', 24, 'ipv4'],
  ['192.88.99.0', 24, 'ipv4'], // 6to4 relay
  ['192.168.0.0', 16, 'ipv4'],
  ['198.18.0.0', 15, 'ipv4'], // benchmarks
  ['198.51.100.0', 24, 'ipv4'],
  ['203.0.113.0', 24, 'ipv4'],
  ['224.0.0.0', 3, 'ipv4'], // multicast, reserved, broadcast
  ['::', 96, 'ipv6'], // unspecified, loopback, IPv4-compatible
  ['::ffff:0:0:0', 96, 'ipv6'], // IPv4-translated (RFC 2765)
  ['64:ff9b::', 32, 'ipv6'], // NAT64, well-known and local (RFC 6052, 8215): it may lead to any private IPv4
  // Global unicast is 2000::/3 alone (RFC 4291): what lies around it. `::/3` would also match every IPv4.
  ['100::', 8, 'ipv6'],
  ['200::', 7, 'ipv6'],
  ['400::', 6, 'ipv6'],
  ['800::', 5, 'ipv6'],
  ['1000::', 4, 'ipv6'],
  ['4000::', 2, 'ipv6'],
  ['8000::', 1, 'ipv6'], // unique local, link-local, site-local, multicast
  ['2001::', 23, 'ipv6'], // protocol assignments, Teredo, ORCHID
  ['2001:db8::', 32, 'ipv6'],
  ['2002::', 16, 'ipv6'], // 6to4
  ['3fff::', 20, 'ipv6'], // documentation
];

const forbidden = new BlockList();
for (const [network, prefix, family] of ranges) forbidden.addSubnet(network, prefix, family);

/** May a public origin have this address? Text that is no IP address may not. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 0 || address.includes('%')) return false;
  return !forbidden.check(address, family === 4 ? 'ipv4' : 'ipv6');
}
