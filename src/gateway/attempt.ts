import type { GatewayDeps } from './gateway.ts';
import type { Dispatch } from './decision.ts';
import { requestHeaders } from './forwarded-headers.ts';
import { outgoing } from './outgoing.ts';
import { asRefusal } from './refusal.ts';
import type { Relay } from './relay.ts';
import { tellsResultsUrl } from './results-url.ts';

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
  deps: Pick<GatewayDeps, 'egress' | 'metrics'>,
  dispatch: Dispatch,
  { method, rawHeaders, hops, context }: Sent,
  relay: Relay,
): void {
  const { target, body, isUnpacked } = dispatch;
  const { provider, key, operation, path } = target;
  try {
    const request = outgoing(deps, dispatch, hops);
    const headers = requestHeaders(provider, rawHeaders, {
      isRead:
        provider.name === 'custom' || provider.usageReader(operation) !== null || tellsResultsUrl(target),
      isStreamed: body !== null && !Buffer.isBuffer(body),
      isUnpacked,
      lengthChange: body === null || Buffer.isBuffer(body) ? 0 : body.lengthChange,
      isOwnKey: key.isCallersOwn,
    });
    if (context !== null) headers.push(...context);
    deps.egress.dispatch({ ...request, method, path, headers, body }, relay);
  } catch (error) {
    relay.fail(asRefusal(error));
  }
}
