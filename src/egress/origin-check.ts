import { isIP } from 'node:net';
import { SallyportError } from '../errors.ts';
import { isPublicAddress } from './address-guard.ts';
import type { Reach } from './request.ts';

/**
 * Ports above 1023 where something other than a web API listens by custom: a public origin there is a probe, not a provider.
 * WHATWG Fetch's "bad ports" above 1023, then databases, caches, queues, clusters' control planes, remote desktops.
 */
const servicePorts: ReadonlySet<number> = new Set([
  1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697,
  10080, 1080, 1433, 1434, 1521, 1883, 2181, 2375, 2376, 2377, 2379, 2380, 2525, 3128, 3268, 3269, 3306, 3389,
  4222, 5222, 5353, 5355, 5432, 5433, 5601, 5671, 5672, 5900, 5901, 5902, 5903, 5984, 5985, 5986, 6379, 6380,
  6443, 7000, 7001, 7199, 7473, 7474, 7687, 8086, 8300, 8301, 8302, 8500, 8501, 8502, 8600, 9042, 9092, 9093,
  9160, 9200, 9300, 9418, 10248, 10249, 10250, 10255, 10256, 10257, 10259, 11211, 15672, 16379, 25672, 26257,
  26379, 27017, 27018, 27019, 50000,
]);

/** Names that never leave a machine, a home or a company (RFC 6761, 6762, 8375, 9476; ICANN's `internal`). */
const innerNames =
  /(?:^|\.)(?:localhost|localdomain|local|alt|internal|intranet|private|corp|home|lan|home\.arpa|test|invalid|example|onion)$/;
const maxChars = 300;

function refuse(message: string): never {
  throw new SallyportError('EGRESS_REFUSED', message);
}

/**
 * Is this an origin that calls may go to? For the moment of saving; names are resolved and judged again at each connection.
 *
 * @param origin  `https://host` or `https://host:port`, no path but `/`, no user, no query. Decimal, octal, hex and full-width numbers
 *                are read as the IP addresses that they are.
 * @param reach   `public`: https, port 443 or from 1024 up without well-known services, a name with a dot or a public address.
 *                `operator`: http and any host or port too.
 * @returns the origin in the one form in which it is stored, sealed and compared.
 * @throws SallyportError EGRESS_REFUSED, with a sentence for whoever typed it.
 */
export function checkOrigin(origin: string, reach: Reach): string {
  // URL drops tabs and line ends and reads `\` as `/`: what was typed would not be what is stored.
  if (origin.length > maxChars || /[^\u0021-\u{10ffff}]|[\\\u007f-\u00a0]/u.test(origin))
    refuse('An origin is at most 300 characters, without spaces or backslashes.');
  let url: URL;
  try {
    url = new URL(origin);
  } catch {
    refuse('This is not an origin: write https://host or https://host:port.');
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    refuse('An origin is https (or http, if the operator lists it).');
  if (url.username !== '' || url.password !== '' || origin.includes('@'))
    refuse('An origin carries no user or password.');
  if (url.pathname !== '/' || /[?#]/.test(origin))
    refuse('An origin has no path, query or fragment: store the path as base path.');
  if (url.hostname.endsWith('.')) refuse('An origin’s name has no dot at its end.');
  if (url.port === '0') refuse('Port 0 cannot be called.');
  if (reach === 'public') checkPublic(url);
  return url.origin;
}

/** Would it do as a public one? */
export function isPublicOrigin(origin: string): boolean {
  try {
    checkOrigin(origin, 'public');
    return true;
  } catch {
    return false;
  }
}

function checkPublic(url: URL): void {
  if (url.protocol !== 'https:') refuse('A public origin has to be https.');
  const port = url.port === '' ? 443 : Number(url.port);
  if ((port !== 443 && port < 1024) || servicePorts.has(port))
    refuse(`Port ${port} is not one for a provider.`);
  const host = url.hostname.startsWith('[') ? url.hostname.slice(1, -1) : url.hostname;
  if (isIP(host) !== 0) {
    if (!isPublicAddress(host)) refuse(`${host} is not a public address.`);
    return;
  }
  if (!host.includes('.') || innerNames.test(host)) refuse(`${host} is not a public name.`);
}
