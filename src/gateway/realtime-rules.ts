import type { FrameFault } from '../dialects/realtime-frames.ts';
import { modelsInMessage } from '../dialects/realtime-models.ts';
import type { ErrorCode } from '../errors.ts';
import { matches } from '../name-pattern.ts';
import type { CallerSnapshot } from './snapshot.ts';
import type { Target } from './target.ts';
import type { EndReason } from './use-record.ts';

/** GATEWAY.md, "Usage by provider": of a longer message nothing is read. */
export const maxKeptBytes = 1024 * 1024;

/** Who ended a session that was cut. */
export function reasonOfCut(code: ErrorCode): EndReason {
  if (code === 'CLIENT_CLOSED') return 'client_closed';
  return code === 'CALL_TIMEOUT' ? 'timeout' : 'revoked';
}

/** Where the protocol is one of messages that are events, and an event of ours can be told from them. */
export function hasErrorEvents(operation: string): boolean {
  return operation === 'openai.realtime' || operation === 'openai.responses';
}

/** A token for certain models runs no others, whatever a message names. */
export function judge(payload: Buffer | null, mayRun: (model: string) => boolean): FrameFault | null {
  if (payload === null)
    return {
      closeCode: 1009,
      reason: `with a token for certain models a message has at most ${maxKeptBytes} bytes`,
    };
  const models = modelsInMessage(payload);
  if (models === null || !models.every(mayRun))
    return { closeCode: 1008, reason: 'a message names a model that this token may not use' };
  return null;
}

/** What the messages of a session may name: as the token's patterns have it, with the provider's name before it or without. */
export function mayRun({ models }: CallerSnapshot, target: Target): ((model: string) => boolean) | null {
  if (models === null) return null;
  const { provider, key, upstreamModel } = target;
  const name = provider.name === 'custom' && 'name' in key ? key.name : provider.name;
  return (model) =>
    model === upstreamModel ||
    models.some((pattern) => matches(pattern, model) || matches(pattern, `${name}/${model}`));
}
