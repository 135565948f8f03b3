import { SallyportError, type ErrorCode } from '../errors.ts';
import type { Target } from './target.ts';

export const clientGone = 'The client went away.';

/** A provider's refusal of the key, told without a word of its own: providers echo parts of keys. */
export function refusedKey({ provider, key }: Target, status: number): SallyportError {
  if (key.source === 'pass-through') {
    return new SallyportError(
      'UPSTREAM_AUTH',
      `${provider.title} refused the key that came with the call (status ${status}).`,
      { fix: 'Check what you send in x-sallyport-provider-key.' },
    );
  }
  return new SallyportError(
    'UPSTREAM_AUTH',
    `${provider.title} refused the stored key ${key.id} (status ${status}).`,
  );
}

/** An answer that is none of the provider's. @param fault as in `sentence` */
export function foreignAnswer(target: Target, fault: string): SallyportError {
  return new SallyportError('UPSTREAM_ERROR', sentence('UPSTREAM_ERROR', target, fault), {
    fix: `Look for a proxy on the way to ${target.origin}, or a wrong origin or base path of the key.`,
  });
}

/** What became of the way to the provider, for whoever reads the answer. */
export function sentence(code: ErrorCode, target: Target, fault: string | null = null): string {
  const where = target.provider.title;
  if (code === 'UPSTREAM_UNREACHABLE')
    return `${where} could not be reached at ${target.origin}${fault === null ? '' : `: ${fault}`}.`;
  if (fault !== null) return `The answer of ${where} cannot be relayed: ${fault}.`;
  if (code === 'UPSTREAM_CONNECT_TIMEOUT') return `No connection to ${where} at ${target.origin} in time.`;
  if (code === 'UPSTREAM_FIRST_BYTE_TIMEOUT') return `${where} did not begin to answer in time.`;
  if (code === 'UPSTREAM_IDLE_TIMEOUT') return `${where} stopped in the middle of its answer.`;
  if (code === 'EGRESS_REFUSED') return `${target.origin} is not an origin that calls may go to.`;
  if (code === 'KEY_ORIGIN') return `The key is not for ${target.origin}.`;
  if (code === 'KEY_INVALID') return 'The key cannot be sent.';
  if (code === 'CLIENT_CLOSED') return 'The call was ended.';
  return `The connection to ${where} failed.`;
}
