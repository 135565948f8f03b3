import type { GatewayDeps } from './gateway.ts';
import { credentialOf } from './credential.ts';
import type { Dispatch } from './decision.ts';
import { requestHeaders } from './forwarded-headers.ts';
import { asRefusal } from './refusal.ts';
import type { Relay } from './relay.ts';

/** What goes along from the client's request. */
interface Sent {
  readonly method: string;
  readonly rawHeaders: readonly string[];
  readonly hops: string | null;
  /** Headers by which a trace goes on at the provider, flat; null where none is made. */
  readonly context: readonly string[] | null;
}

/** One attempt goes out; the relay hears of all that comes of it, also where nothing could be sent. */
export function sendAttempt(
  { egress, metrics }: Pick<GatewayDeps, 'egress' | 'metrics'>,
  { target, limits, prepared, body, isUnpacked }: Dispatch,
  { method, rawHeaders, hops, context }: Sent,
  relay: Relay,
): void {
  const { provider, key, origin } = target;
  const isCustom = provider.name === 'custom';
  try {
    if (key.auth === 'none') prepared.checkOrigin(origin);
    const headers = requestHeaders(provider, rawHeaders, {
      isRead: isCustom || provider.usageReader(target.operation) !== null,
      isStreamed: body !== null && !Buffer.isBuffer(body),
      isUnpacked,
      lengthChange: body === null || Buffer.isBuffer(body) ? 0 : body.lengthChange,
      isOwnKey: key.isCallersOwn,
    });
    if (context !== null) headers.push(...context);
    egress.dispatch(
      {
        origin,
        reach: target.reach,
        method,
        path: target.path,
        headers,
        body,
        credential: credentialOf(target, prepared, (ok) => metrics.keyOpened(provider.name, ok)),
        hops,
        searchFrom: isCustom ? 0 : 400,
        timeouts: {
          connectMs: limits.connectMs,
          headersMs: limits.firstByteMs,
          bodyMs: limits.betweenBytesMs,
        },
      },
      relay,
    );
  } catch (error) {
    relay.fail(asRefusal(error));
  }
}
