import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Dialect } from '../dialects/dialect.ts';
import type { Receipt } from '../journal/journal.ts';
import { isFreeOperation } from '../providers/cost.ts';
import { priceListOf } from '../providers/price-lists.ts';
import { corsHeaders } from './cors.ts';
import type { Target } from './target.ts';
import { uploadUrlHeader } from './upload-url.ts';

export interface Told {
  readonly callId: string;
  readonly dialect: Dialect;
  readonly target: Target | null;
  readonly begin: Receipt | null;
  readonly attempt: number;
  readonly upstreamRequestId: string | null;
  /** Where a resumable upload goes on, at this gateway. */
  readonly uploadUrl?: string | null;
  /** Of what was made, at this gateway. */
  readonly location?: string | null;
  /** The gateway's own time before the first attempt went out, or null where none did. */
  readonly overheadMs: number | null;
}

/** A page that a provider sent, opened in a browser, must be nobody's page on this host. */
const guards: readonly string[] = [
  'x-content-type-options',
  'nosniff',
  'referrer-policy',
  'no-referrer',
  'x-frame-options',
  'DENY',
  'content-security-policy',
  "default-src 'none'",
];
const guardsOverTls: readonly string[] = [...guards, 'strict-transport-security', 'max-age=31536000'];

/** Did it come over our own TLS? */
export function isOverTls({ socket }: { readonly socket: Socket | null }): boolean {
  return (socket as Partial<TLSSocket> | null)?.encrypted === true;
}

/** On every answer of ours, flat. */
export function guardsOf(request: Pick<IncomingMessage, 'socket'>): readonly string[] {
  return isOverTls(request) ? guardsOverTls : guards;
}

/** The headers that the gateway adds to every answer of the data plane (WIRE.md), flat. */
export function ownHeaders(request: IncomingMessage, corsOrigins: readonly string[], told: Told): string[] {
  const headers = ['x-request-id', told.callId, ...guardsOf(request)];
  if (told.dialect === 'anthropic') headers.push('request-id', told.callId);
  if (told.target !== null) {
    const { provider, key } = told.target;
    headers.push('x-sallyport-provider', provider.name);
    if (key.id !== null) headers.push('x-sallyport-key', key.id);
    headers.push('x-sallyport-key-source', key.source);
    if (told.begin !== null && isFree(request, told.target)) headers.push('x-sallyport-cost-nano-usd', '0');
  }
  if (told.begin !== null) {
    headers.push('x-sallyport-receipt', told.begin.text, 'x-sallyport-attempts', String(told.attempt));
  }
  if (told.upstreamRequestId !== null) {
    headers.push('x-sallyport-upstream-request-id', told.upstreamRequestId);
  }
  if (typeof told.uploadUrl === 'string') headers.push(uploadUrlHeader, told.uploadUrl);
  if (typeof told.location === 'string') headers.push('location', told.location);
  if (told.overheadMs !== null) headers.push('server-timing', `gateway;dur=${told.overheadMs.toFixed(2)}`);
  return headers.concat(corsHeaders(request, corsOrigins, false));
}

/** Other costs are known when the answer has ended, and stand in `/api/usage/calls/{id}`. */
function isFree({ method }: IncomingMessage, { operation, provider, origin }: Target): boolean {
  const list = priceListOf(provider.name, origin);
  return list !== null && isFreeOperation(method ?? 'GET', operation, list);
}
