import type { TokenView } from '../admin/token-view.ts';
import { type Cell, fieldList } from './text-table.ts';

/** A token for people. An admin token makes no calls, and has nothing that is about them. */
export function tokenText(token: TokenView): string {
  const ofCalls = token.kind === 'admin' ? {} : { ...reachOf(token), ...carryingOf(token) };
  return fieldList({
    id: token.id,
    name: token.name,
    kind: token.kind,
    begins: `${token.prefix}…`,
    user: token.userId,
    status: token.status,
    ...ofCalls,
    tags: token.tags?.join(' ') ?? null,
    expires: token.expiresAt,
    'last used': token.lastUsedAt,
    made: token.createdAt,
    revoked: token.revokedAt,
  });
}

function reachOf(token: TokenView): Record<string, Cell> {
  return {
    providers: token.providers?.join(' ') ?? 'all',
    models: token.models?.join(' ') ?? 'all',
    keys: token.keyIds?.join(' ') ?? 'all of its user',
    endpoints: token.endpoints?.join(' ') ?? 'all',
    networks: token.networks?.join(' ') ?? 'all',
    'calls a minute': token.requestsPerMinute,
    'calls at once': token.concurrentCalls,
  };
}

function carryingOf({ policy }: TokenView): Record<string, Cell> {
  const { fallbackModels, maxAttempts, onDisconnect, retryStale, timeouts } = policy;
  const limits = Object.entries(timeouts).filter(([, ms]) => ms !== null);
  return {
    'falls back to': fallbackModels.join(' ') || 'no other model',
    attempts: maxAttempts,
    'retries stale': retryStale ? 'yes' : 'no',
    timeouts:
      limits.length === 0
        ? 'the provider’s'
        : limits.map(([name, ms]) => `${name.replace(/Ms$/, '')} ${ms} ms`).join(', '),
    'when a client leaves':
      onDisconnect.type === 'abort'
        ? 'abort'
        : `drain for ${onDisconnect.maxSeconds} s, ${onDisconnect.maxBytes} bytes`,
  };
}
