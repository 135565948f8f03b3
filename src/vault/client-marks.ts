import type { KeyObject } from 'node:crypto';
import { isIPv4 } from 'node:net';
import { ipv6Words, mappedIpv4 } from '../ip-words.ts';
import { macOf } from './mac.ts';

/** What a record says of where a client was, 32 hex digits each. */
export interface ClientMarks {
  /** The same for the same address. */
  readonly clientIpHash: string;
  /** Of the network around it, an IPv4 /24 or an IPv6 /48: the same for months, within one workspace only. */
  readonly network: string;
}

/** Whom a client's address belongs to. */
export interface AddressOwner {
  /** Null where it is not known whose call it is. */
  readonly workspaceId: string | null;
}

/** Marks remembered: some tens of bytes each, and new ones cost 10 µs. */
const limit = 10_000;

/**
 * Marks client addresses. They are remembered, because a client's calls come from few addresses. Address and network are under keys of
 * their own: nobody can tell from the one whether it lies in the other.
 */
export function createClientMarks(keys: { readonly address: KeyObject; readonly network: KeyObject }) {
  const known = new Map<string, ClientMarks>();
  return function markClient(ip: string, { workspaceId }: AddressOwner): ClientMarks {
    const name = `${workspaceId ?? ''} ${ip}`;
    const found = known.get(name);
    if (found !== undefined) return found;
    const { address, network } = placeOf(ip);
    const marks: ClientMarks = {
      clientIpHash: pseudonym(macOf(keys.address, [address])),
      network: pseudonym(macOf(keys.network, [workspaceId, network])),
    };
    if (known.size >= limit) known.clear();
    known.set(name, marks);
    return marks;
  };
}

const pseudonym = (mac: Buffer): string => mac.toString('hex', 0, 16);

/** In one form however it was written. Text that is no address is a network of its own. */
function placeOf(ip: string): { readonly address: string; readonly network: string } {
  const words = ipv6Words(ip);
  const dotted = words === null ? ip : mappedIpv4(words);
  if (words === null || dotted !== null) {
    const address = dotted ?? ip;
    return { address, network: isIPv4(address) ? address.replace(/\d+$/, '0/24') : address };
  }
  const hex = words.map((word) => word.toString(16));
  return { address: hex.join(':'), network: `${hex.slice(0, 3).join(':')}::/48` };
}
