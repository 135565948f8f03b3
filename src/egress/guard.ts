import { constants } from 'node:crypto';
import { lookup as systemLookup, type LookupAddress } from 'node:dns';
import { isIP, type LookupFunction, type Socket } from 'node:net';
import { buildConnector } from 'undici';
import { isPublicAddress } from './address-guard.ts';
import { EgressError, lostAtOnce } from './egress-error.ts';
import type { Tunnel } from './proxy.ts';
import type { Reach } from './request.ts';

/** Returns the socket that is being connected, if there is one already: whoever gives up destroys it. */
export type Connector = (target: buildConnector.Options, done: buildConnector.Callback) => Socket | undefined;

function refused(what: string): EgressError {
  return new EgressError('EGRESS_REFUSED', `${what} is not a public address.`);
}

/**
 * A name whose answers are all public, or an error. One private answer among public ones is refused whole: whoever mixes them hopes
 * that the check sees the one and the connection takes the other.
 */
function publicLookup(lookup: LookupFunction): LookupFunction {
  return (hostname, options, done) => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      if (error !== null) {
        done(error, []);
        return;
      }
      const addresses = found as LookupAddress[];
      const [first] = addresses;
      if (first === undefined || addresses.some(({ address }) => !isPublicAddress(address)))
        done(refused(`An answer for ${hostname}`), []);
      else if (options.all === true) done(null, addresses);
      else done(null, first.address, first.family);
    });
  };
}

/**
 * Connects within a reach. For `public`: a literal is checked before, a name's answers between resolving and connecting, and the peer
 * once more before the connection is handed over. (net.connect's own `blockList` option does the first two for plain sockets only:
 * tls.connect does not pass it on, seen on Node 26.)
 *
 * By a tunnel names are the proxy's to resolve, and of addresses only literals can be judged here (docs/decisions/0018).
 *
 * No proxy variable is read on this way. Certificates are verified whatever NODE_TLS_REJECT_UNAUTHORIZED says.
 */
export function guardedConnector(options: {
  readonly reach: Reach;
  readonly ca: string | undefined;
  readonly lookup: LookupFunction | undefined;
  /** Null: straight to the provider. */
  readonly tunnel: Tunnel | null;
}): Connector {
  const { reach, ca, tunnel } = options;
  const lookup = options.lookup ?? systemLookup;
  // What its type leaves out: it returns the socket that it makes.
  const connect = buildConnector({
    allowH2: false,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
    // What is written while a server negotiates anew, the TLS layer copies into memory that is freed unwiped (measured: keys were found).
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    // Only a last resort: each call has its own, shorter bound.
    timeout: 60_000,
    ...(ca === undefined ? {} : { ca }),
    lookup: reach === 'public' ? publicLookup(lookup) : lookup,
  }) as (...args: Parameters<Connector>) => Socket;
  if (reach === 'operator' && tunnel === null) return connect;
  return (target, done) => {
    if (target.protocol !== 'https:') {
      done(new EgressError('EGRESS_REFUSED', 'A public origin has to be https.'), null);
      return undefined;
    }
    if (isIP(target.hostname) !== 0 && !isPublicAddress(target.hostname)) {
      done(refused(target.hostname), null);
      return undefined;
    }
    if (tunnel !== null) {
      return tunnel(target.hostname, Number(target.port) || 443, (error, socket) => {
        if (error !== null) done(error, null);
        else connect({ ...target, httpSocket: socket }, done);
      });
    }
    return connect(target, (...result) => {
      const [error, socket] = result;
      const peer = socket?.remoteAddress;
      if (error !== null || (peer !== undefined && isPublicAddress(peer))) return done(...result);
      socket.on('error', () => {}).destroy();
      // A connection that was reset right behind the handshake has no peer any more: as bad to use, but no address was wrong.
      done(peer === undefined ? lostAtOnce() : refused('The peer'), null);
    });
  };
}
