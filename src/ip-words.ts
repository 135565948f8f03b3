import { isIPv6 } from 'node:net';

/** The eight 16-bit words of an IPv6 address, in whatever form and with whatever zone it is written; null for other text. */
export function ipv6Words(ip: string): readonly number[] | null {
  if (!isIPv6(ip)) return null;
  const address = ip.split('%', 1)[0] as string;
  const dotted = /:(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  const plain =
    dotted === null
      ? address
      : `${address.slice(0, dotted.index + 1)}${pair(dotted[1], dotted[2])}:${pair(dotted[3], dotted[4])}`;
  const [left = '', right] = plain.split('::');
  const head = left === '' ? [] : left.split(':');
  const tail = right === undefined || right === '' ? [] : right.split(':');
  return [...head, ...Array<string>(8 - head.length - tail.length).fill('0'), ...tail].map((word) =>
    Number.parseInt(word, 16),
  );
}

/** A dual-stack socket writes IPv4 addresses as `::ffff:192.0.2.1`, and they may be written `::ffff:c000:201`: they are the same caller's. */
export function mappedIpv4(words: readonly number[]): string | null {
  if (words[5] !== 0xffff || words.slice(0, 5).some((word) => word !== 0)) return null;
  const [high = 0, low = 0] = words.slice(6);
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}

function pair(high = '0', low = '0'): string {
  return (Number(high) * 256 + Number(low)).toString(16);
}
