import type { IncomingMessage } from 'node:http';
import type { Config } from '../config.ts';
import { SallyportError } from '../errors.ts';
import { isOverTls } from '../gateway/own-headers.ts';
import { type ClientAddresses, isLoopback } from './client-address.ts';
import { isLocalPeer } from './metrics.ts';

/** What the way of a request to us allows. */
export interface Arrival {
  /** May a provider key come in clear over this connection? */
  readonly isPrivate: (request: IncomingMessage) => boolean;
  /** `https://gateway.example`, as the client wrote it, or as a trusted proxy tells it; null where it is no host. */
  readonly ownOrigin: (request: IncomingMessage) => string | null;
  /** REQUIRE_TLS. @throws {SallyportError} TLS_REQUIRED */
  readonly checkArrival: (request: IncomingMessage) => void;
}

const hostShape = /^(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?$/i;

export function createArrival(
  { allowPlainHttp, requireTls }: Pick<Config, 'allowPlainHttp' | 'requireTls'>,
  addresses: Pick<ClientAddresses, 'isTrustedPeer'>,
): Arrival {
  /** Before a trusted proxy the way was as it says, whatever the way from there to us. */
  function isOverHttps(request: IncomingMessage): boolean {
    const told = addresses.isTrustedPeer(request) ? request.headers['x-forwarded-proto'] : undefined;
    return told === undefined ? isOverTls(request) : told === 'https';
  }

  return Object.freeze<Arrival>({
    isPrivate(request) {
      if (allowPlainHttp || isOverHttps(request)) return true;
      return !addresses.isTrustedPeer(request) && isLocalPeer(request, isLoopback);
    },
    ownOrigin(request) {
      const told = addresses.isTrustedPeer(request) ? request.headers['x-forwarded-host'] : undefined;
      const host = typeof told === 'string' ? told : (request.headers.host ?? '');
      const origin = URL.parse(`${isOverHttps(request) ? 'https' : 'http'}://${host}`);
      // What is more than a host and a port would be part of a URL that we make.
      return hostShape.test(host) && origin !== null ? origin.origin : null;
    },
    checkArrival(request) {
      if (!requireTls || isOverHttps(request)) return;
      throw new SallyportError('TLS_REQUIRED', 'This gateway is reached by https only.', {
        fix: 'Use https, and replace the token that you sent: it may have been read.',
      });
    },
  });
}
