import { randomBytes, type KeyObject } from 'node:crypto';
import { isIPv4 } from 'node:net';
import { monthOf } from '../db/months.ts';
import { ipv6Words, mappedIpv4 } from '../ip-words.ts';
import type { AddressSalt } from './address-salts.ts';
import { macOf } from './mac.ts';

/** What a record says of where a client was, 32 hex digits each. */
export interface ClientMarks {
  /** The same for the same address of one user in one month. */
  readonly clientIpHash: string;
  /** Of the network around it, an IPv4 /24 or an IPv6 /48: the same for months, within one workspace only. */
  readonly network: string;
}

/** Whom a client's address belongs to. */
export interface AddressOwner {
  /** Null where it is not known whose call it is. */
  readonly workspaceId: string | null;
  /** This month's and the next one's; where there are none, a salt that nobody keeps. */
  readonly addressSalts?: readonly AddressSalt[];
}

/** Marks remembered: some tens of bytes each, and new ones cost 20 µs. */
const limit = 10_000;

/**
 * Marks client addresses. Who reads the database has the salts and lacks the key; who has the key as well can search the addresses of a
 * user as long as his salts are kept, and never again. Address and network are under keys of their own: nobody can tell from the one
 * whether it lies in the other.
 */
export function createClientMarks(deps: {
  readonly address: KeyObject;
  readonly network: KeyObject;
  readonly clock: () => number;
}) {
  const { clock } = deps;
  let month = monthAt(clock());
  let ownSalt: AddressSalt = { userId: '', month: month.name, salt: randomBytes(32) };
  // By salt, so that what is remembered goes with the caller whose salt it is.
  let known = new WeakMap<AddressSalt, Map<string, ClientMarks>>();
  let size = 0;

  function forget(): void {
    known = new WeakMap();
    size = 0;
  }

  function turn(now: number): void {
    month = monthAt(now);
    ownSalt = { userId: '', month: month.name, salt: randomBytes(32) };
    forget();
  }

  return function markClient(ip: string, { workspaceId, addressSalts }: AddressOwner): ClientMarks {
    const now = clock();
    if (now < month.from || now >= month.until) turn(now);
    const salt = addressSalts?.find((candidate) => candidate.month === month.name) ?? ownSalt;
    // A user has one workspace, the salt of nobody has all of them.
    const name = salt === ownSalt ? `${workspaceId ?? ''} ${ip}` : ip;
    const found = known.get(salt)?.get(name);
    if (found !== undefined) return found;
    const { address, network } = placeOf(ip);
    const owner = [workspaceId, salt.userId, salt.month, salt.salt.toString('hex')];
    const marks: ClientMarks = {
      clientIpHash: pseudonym(macOf(deps.address, [...owner, address])),
      network: pseudonym(macOf(deps.network, [workspaceId, network])),
    };
    if (size >= limit) forget();
    size += 1;
    known.getOrInsertComputed(salt, () => new Map()).set(name, marks);
    return marks;
  };
}

function monthAt(now: number): { readonly name: string; readonly from: number; readonly until: number } {
  const at = new Date(now);
  const [year, month] = [at.getUTCFullYear(), at.getUTCMonth()];
  return { name: monthOf(at), from: Date.UTC(year, month, 1), until: Date.UTC(year, month + 1, 1) };
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
