import { BlockList, isIP } from 'node:net';
import { SallyportError } from '../errors.ts';
import type { CallerSnapshot } from './snapshot.ts';

/** By the list of a snapshot, which stands until the epoch moves. */
const compiled = new WeakMap<readonly string[], BlockList>();

/** @throws {SallyportError} FORBIDDEN: the token is not for this address. */
export function checkNetwork({ networks }: Pick<CallerSnapshot, 'networks'>, address: string): void {
  if (networks === null) return;
  let list = compiled.get(networks);
  if (list === undefined) {
    list = compile(networks);
    compiled.set(networks, list);
  }
  const family = isIP(address);
  if (family !== 0 && list.check(address, family === 6 ? 'ipv6' : 'ipv4')) return;
  throw new SallyportError('FORBIDDEN', 'This token may not be used from this address.', {
    fix: 'Call from a network that the token allows, or have the token changed.',
  });
}

function compile(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const entry of networks) {
    const [address = '', bits] = entry.split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  return list;
}
