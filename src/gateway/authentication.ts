import type { IncomingMessage } from 'node:http';
import { SallyportError } from '../errors.ts';
import { wipe } from '../secret.ts';
import type { Place } from './base-url.ts';
import type { HeldCaller } from './callers.ts';
import { readCredentials, type Secrets } from './credentials.ts';
import type { GatewayDeps } from './gateway.ts';

export interface Authenticated extends Secrets {
  readonly held: HeldCaller;
  /** Without the token. */
  readonly query: string;
}

/**
 * Who makes a call, and what he brings along.
 *
 * @throws {SallyportError} AUTH_*, RATE_LIMITED, SEAL_WRONG, KEY_FORMAT, TLS_REQUIRED, REQUEST_INVALID.
 */
export async function authenticate(
  deps: Pick<GatewayDeps, 'callers' | 'limits' | 'metrics' | 'clientAddress' | 'isPrivate'>,
  request: IncomingMessage,
  place: Place,
): Promise<Authenticated> {
  const { callers, limits, metrics } = deps;
  const ip = deps.clientAddress(request);
  // A known token is served whatever its neighbours send: behind one address there may be a whole company.
  const checkFailures = (): void => limits.checkAuthFailures(ip);
  let secrets: Secrets | null = null;
  try {
    const credentials = readCredentials(request.rawHeaders, place.query);
    const { seal, providerKey, query } = credentials;
    secrets = credentials;
    if (providerKey !== null && !deps.isPrivate(request)) throw overheard();
    return { held: await callers.authenticate(credentials, checkFailures), query, seal, providerKey };
  } catch (error) {
    wipe(secrets?.seal, secrets?.providerKey);
    if (!(error instanceof SallyportError)) throw error;
    if (error.status === 401 || error.code === 'SEAL_WRONG') metrics.authRefused(error.code);
    // A seal that is not well-formed is a slip and no guess: it must not count against its neighbours' tokens.
    if (error.code === 'AUTH_INVALID') {
      checkFailures();
      limits.countAuthFailure(ip);
    }
    throw error;
  }
}

function overheard(): SallyportError {
  return new SallyportError(
    'TLS_REQUIRED',
    'A provider key came with this call over a link that others can read.',
    {
      fix: 'Use https, and replace that key: it may have been read. Or let the operator set ALLOW_PLAIN_HTTP=true.',
    },
  );
}
