import type { IncomingMessage } from 'node:http';
import type { CallTrace } from '../telemetry/tracer.ts';
import type { Dispatch } from './decision.ts';
import type { GatewayDeps } from './gateway.ts';
import type { RelayResult } from './relay-result.ts';
import type { CallerSnapshot } from './snapshot.ts';

/** What the tracer is told of one call. */
export class TracedCall {
  readonly #trace: CallTrace;
  readonly #now: () => number;
  readonly #method: string;
  #attempts = 0;
  #outcome = 'ok';

  private constructor(trace: CallTrace, now: () => number, method: string) {
    this.#trace = trace;
    this.#now = now;
    this.#method = method;
  }

  /** Null where tracing is off. */
  static start(
    { tracer, now }: Pick<GatewayDeps, 'tracer' | 'now'>,
    id: string,
    { headers, method = 'GET' }: IncomingMessage,
  ): TracedCall | null {
    return tracer === null ? null : new TracedCall(tracer.callStarted(id, headers, now()), now, method);
  }

  /** @returns headers that go to the provider with this attempt, flat. */
  attemptStarted({ target, identity }: Dispatch): readonly string[] {
    this.#attempts += 1;
    return this.#trace.attemptStarted({
      attempt: this.#attempts,
      startedAtMs: this.#now(),
      method: this.#method,
      provider: target.provider.name,
      operation: target.operation,
      model: target.upstreamModel ?? identity.model,
      isStream: identity.isStream,
      origin: target.origin,
      tokenId: identity.tokenId,
      keyId: identity.keyId,
      keySource: identity.keySource,
    });
  }

  attemptEnded(
    { outcome, upstreamStatus, upstreamRequestId, reading }: RelayResult,
    endedAtMs: number,
  ): void {
    this.#outcome = outcome;
    this.#trace.attemptEnded({
      endedAtMs,
      outcome,
      status: upstreamStatus,
      upstreamRequestId,
      responseModel: reading?.model ?? null,
      usage: reading?.usage ?? null,
    });
  }

  /** The client is told this and nothing else. */
  refused(code: string): void {
    this.#outcome = code;
  }

  /** @param status what the client was answered, or null where no answer was begun. */
  ended(status: number | null, caller: Pick<CallerSnapshot, 'workspaceId' | 'tokenId'> | null): void {
    this.#trace.ended({
      endedAtMs: this.#now(),
      method: this.#method,
      status,
      outcome: this.#outcome,
      workspaceId: caller?.workspaceId ?? null,
      tokenId: caller?.tokenId ?? null,
      attempts: this.#attempts,
    });
  }
}
