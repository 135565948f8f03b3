import { createHmac, type KeyObject } from 'node:crypto';

/** Addresses remembered: some tens of bytes each, and a new one costs 5 µs. */
const limit = 10_000;

/**
 * Pseudonyms of client addresses: 32 hex digits, the same for the same address under the same key only. They are remembered, because
 * a client’s calls come from few addresses.
 */
export function createIpHash(key: KeyObject): (ip: string) => string {
  const known = new Map<string, string>();
  return (ip) => {
    const found = known.get(ip);
    if (found !== undefined) return found;
    const hash = createHmac('sha256', key).update(plainIp(ip)).digest('hex').slice(0, 32);
    if (known.size >= limit) known.clear();
    known.set(ip, hash);
    return hash;
  };
}

/** A dual-stack socket writes IPv4 addresses as `::ffff:192.0.2.1`; they are the same caller's. */
function plainIp(ip: string): string {
  return ip.toLowerCase().replace(/^::ffff:(?=\d+\.)/, '');
}
