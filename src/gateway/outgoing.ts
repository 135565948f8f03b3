import type { EgressRequest } from '../egress/egress.ts';
import { credentialOf } from './credential.ts';
import type { Dispatch } from './decision.ts';
import type { GatewayDeps } from './gateway.ts';

/** What decides where an attempt goes, whose key it takes along, and what is done with that key in its answer. */
export type Outgoing = Pick<
  EgressRequest,
  'origin' | 'reach' | 'credential' | 'hops' | 'searchFrom' | 'timeouts'
>;

/**
 * The same for a call and for a session over a WebSocket.
 *
 * @param hops the gateways that it came through
 * @throws {SallyportError} KEY_ORIGIN: a key that sends nothing was not stored for this origin; the others are checked when they are opened.
 */
export function outgoing(
  { metrics }: Pick<GatewayDeps, 'metrics'>,
  { target, limits, prepared }: Pick<Dispatch, 'target' | 'limits' | 'prepared'>,
  hops: string | null,
): Outgoing {
  const { origin, reach, key, provider } = target;
  if (key.auth === 'none') prepared.checkOrigin(origin);
  return {
    origin,
    reach,
    credential: credentialOf(target, prepared, (ok) => metrics.keyOpened(provider.name, ok)),
    hops,
    // A known provider puts no key into a good answer (docs/decisions/0020).
    searchFrom: provider.name === 'custom' ? 0 : 400,
    timeouts: {
      connectMs: limits.connectMs,
      headersMs: limits.firstByteMs,
      bodyMs: limits.betweenBytesMs,
    },
  };
}
