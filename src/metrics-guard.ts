import type { Callers } from './admin/callers.ts';
import type { Operator } from './admin/operator.ts';
import { can } from './admin/permissions.ts';
import { SallyportError } from './errors.ts';
import type { Limits } from './limits/limits.ts';
import type { Arrival } from './routes/arrival.ts';
import { type ClientAddresses, isLoopback } from './routes/client-address.ts';
import type { EdgeRequest } from './routes/edge.ts';
import { isLocalPeer, isOwnName } from './routes/metrics.ts';

/**
 * Who may read `/metrics` on the main port: a loopback peer that speaks for nobody else, and who sees all usage of the operator's workspace.
 * They count the calls, costs and keys of all workspaces, which is nothing for the people of another one.
 */
export function createMetricsGuard(deps: {
  readonly callers: Pick<Callers, 'authenticate'>;
  readonly limits: Pick<Limits, 'checkAuthFailures' | 'countAuthFailure'>;
  readonly addresses: ClientAddresses;
  readonly checkArrival: Arrival['checkArrival'];
  readonly operator: () => Promise<Operator | null>;
}): (request: EdgeRequest) => Promise<boolean> {
  const { callers, limits, addresses, checkArrival, operator } = deps;

  async function isOfOperator(request: EdgeRequest): Promise<boolean> {
    const bearer = /^bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (bearer === undefined) return false;
    checkArrival(request.raw);
    const ip = addresses.of(request.raw);
    try {
      // No way round the limit on guesses: each well-formed one asks the database.
      limits.checkAuthFailures(ip);
      const { role, workspaceId } = await callers.authenticate(bearer, ip);
      return can(role, 'usage:all') && (await operator())?.workspaceId === workspaceId;
    } catch (error) {
      if (error instanceof SallyportError && error.code === 'AUTH_INVALID') limits.countAuthFailure(ip);
      return false;
    }
  }

  return async (request) =>
    (isLocalPeer(request, isLoopback) && isOwnName(request.headers.host)) || isOfOperator(request);
}
