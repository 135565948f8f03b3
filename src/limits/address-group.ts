import { isIPv6 } from 'node:net';

/**
 * What counts as one client: an IPv4 address, or an IPv6 /64, because every subscriber has at least 2^64 addresses of his own
 * (RFC 6177). IPv4-mapped IPv6 counts as its IPv4. Other text counts as itself, cut to a bound.
 */
export function addressGroup(ip: string): string {
  if (!isIPv6(ip)) return ip.slice(0, 64);
  const address = ip.split('%', 1)[0] as string;
  const dotted = /:(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  const plain =
    dotted === null
      ? address
      : `${address.slice(0, dotted.index + 1)}${pair(dotted[1], dotted[2])}:${pair(dotted[3], dotted[4])}`;
  const [left = '', right] = plain.split('::');
  const head = left === '' ? [] : left.split(':');
  const tail = right === undefined || right === '' ? [] : right.split(':');
  const words = [...head, ...Array<string>(8 - head.length - tail.length).fill('0'), ...tail].map((word) =>
    Number.parseInt(word, 16),
  );
  const isMapped = words.slice(0, 5).every((word) => word === 0) && words[5] === 0xffff;
  if (isMapped) {
    const [high = 0, low = 0] = words.slice(6);
    return [high >> 8, high & 255, low >> 8, low & 255].join('.');
  }
  return `${words
    .slice(0, 4)
    .map((word) => word.toString(16))
    .join(':')}::/64`;
}

function pair(high = '0', low = '0'): string {
  return (Number(high) * 256 + Number(low)).toString(16);
}
