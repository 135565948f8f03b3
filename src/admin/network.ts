import { isIP } from 'node:net';
import { invalid } from './moment.ts';

/**
 * Addresses and CIDRs in the one form in which they are kept: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.7/32`; each once.
 *
 * @throws {SallyportError} REQUEST_INVALID naming the entry: no address, bits beyond the prefix, or IPv4 written as IPv6, which a
 *   client's address never is.
 */
export function readNetworks(path: string, texts: readonly string[] | null): string[] | null {
  if (texts === null) return null;
  return [...new Set(texts.map((text, i) => readNetwork(`${path}/${i}`, text)))];
}

function readNetwork(path: string, text: string): string {
  const [, address = '', bits] = /^([0-9A-Fa-f.:]{2,45})(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const family = isIP(address);
  if (family === 0) throw invalid(path, 'has to be an address or a CIDR, such as 10.0.0.0/8');
  const plain = family === 6 ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address;
  if (plain.startsWith('::ffff:')) throw invalid(path, 'has to be written as IPv4');
  const width = family === 6 ? 128 : 32;
  const prefix = bits === undefined ? width : Number(bits);
  if (prefix > width) throw invalid(path, `has a prefix of more than ${width} bits`);
  const rest = BigInt(width - prefix);
  const value = numberOf(plain, family);
  if ((value >> rest) << rest !== value)
    throw invalid(path, 'has bits beyond its prefix: 10.0.0.0/8, not 10.1.2.3/8');
  return `${plain}/${prefix}`;
}

function numberOf(address: string, family: number): bigint {
  if (family === 4) return address.split('.').reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  const [left = '', right] = address.split('::');
  const words = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const [head, tail] = [words(left), words(right ?? '')];
  const zeros = Array<string>(right === undefined ? 0 : 8 - head.length - tail.length).fill('0');
  return [...head, ...zeros, ...tail].reduce((sum, word) => sum * 65_536n + BigInt(`0x${word}`), 0n);
}
