import type { IncomingMessage } from 'node:http';
import { SallyportError } from '../errors.ts';

/** Gateways one behind the other; more than a company has. */
const maxHops = 8;

/**
 * The gateways that a request came through, so that the next one sees them too: two gateways, or two nodes behind one name, whose origins
 * lead to each other would otherwise hand a call on for ever.
 *
 * @param own of this process
 * @returns what goes before our own in `x-sallyport-hop`; null: nothing
 * @throws {SallyportError} LOOP_DETECTED
 */
export function hopsOf(request: IncomingMessage, own: string): string | null {
  const told = request.headers['x-sallyport-hop'];
  if (typeof told !== 'string') return null;
  const hops = told.split(',').map((hop) => hop.trim());
  if (hops.includes(own)) {
    throw new SallyportError(
      'LOOP_DETECTED',
      'This call came out of this gateway: an origin leads back to it.',
    );
  }
  if (hops.length > maxHops) {
    throw new SallyportError('LOOP_DETECTED', `This call came through more than ${maxHops} gateways.`);
  }
  // What is no gateway's goes no further.
  const known = hops.filter((hop) => /^[\da-f]{32}$/.test(hop));
  return known.length === 0 ? null : known.join(', ');
}
