import { type ErrorCode, errorTable, type SallyportError } from '../errors.ts';
import type { Dialect } from './dialect.ts';

export interface ErrorAnswer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

/** WIRE.md, "Data plane": OpenAI's and Anthropic's type, and Google's status, by HTTP status. */
const kinds: Readonly<Record<number, readonly [type: string, googleStatus: string]>> = {
  400: ['invalid_request_error', 'INVALID_ARGUMENT'],
  401: ['authentication_error', 'UNAUTHENTICATED'],
  403: ['permission_error', 'PERMISSION_DENIED'],
  404: ['not_found_error', 'NOT_FOUND'],
  408: ['timeout_error', 'DEADLINE_EXCEEDED'],
  409: ['invalid_request_error', 'FAILED_PRECONDITION'],
  413: ['invalid_request_error', 'INVALID_ARGUMENT'],
  429: ['rate_limit_error', 'RESOURCE_EXHAUSTED'],
  502: ['api_error', 'INTERNAL'],
  503: ['overloaded_error', 'UNAVAILABLE'],
  504: ['timeout_error', 'DEADLINE_EXCEEDED'],
};

/** Codes that OpenAI's clients know and act on; elsewhere the gateway's own code stands in the body. */
const openaiCodes: Partial<Record<ErrorCode, string>> = {
  AUTH_MISSING: 'invalid_api_key',
  AUTH_INVALID: 'invalid_api_key',
  RATE_LIMITED: 'rate_limit_exceeded',
  UPSTREAM_RATE_LIMITED: 'rate_limit_exceeded',
  MODEL_UNKNOWN: 'model_not_found',
  BUDGET_EXHAUSTED: 'insufficient_quota',
};

/** Characters of an error message: long enough for a list of choices, too short to carry a body. */
const maxMessage = 2000;

/**
 * An error of the gateway's own, in the dialect of the route (WIRE.md).
 *
 * @param requestId `call_…`; in Anthropic's form also in the body and as `request-id`.
 * @returns headers in lower case, without content-length and without those that every answer carries.
 */
export function renderError(dialect: Dialect, error: SallyportError, requestId: string): ErrorAnswer {
  const row = errorTable[error.code];
  const headers: Record<string, string> = {
    'content-type': 'application/json; charset=utf-8',
    'x-request-id': requestId,
    'x-sallyport-code': error.code,
  };
  if (dialect === 'anthropic') headers['request-id'] = requestId;
  if (!row.retry) headers['x-should-retry'] = 'false';
  const retryAfter = retryAfterOf(error, row.status);
  if (retryAfter !== null) headers['retry-after'] = String(retryAfter);
  const body = errorBody(dialect, error.code, withFix(error.message, error.fix), requestId);
  return { status: row.status, headers, body: Buffer.from(JSON.stringify(body)) };
}

/**
 * The event that tells a client that its stream broke, written before the socket is destroyed; never followed by `[DONE]`.
 * It begins with a blank line, because the relayed bytes may have ended in the middle of an event. Headers are long gone, so
 * the code stands in the message where the dialect has no place for it. Only for answers with event framing.
 */
export function renderStreamError(
  dialect: Dialect,
  code: ErrorCode,
  message: string,
  requestId: string,
): Buffer {
  const text = dialect === 'openai' ? message : `${code}: ${message}`;
  const data = JSON.stringify(errorBody(dialect, code, text, requestId));
  return Buffer.from(`\n\n${dialect === 'anthropic' ? 'event: error\n' : ''}data: ${data}\n\n`);
}

/**
 * The same for a session over a WebSocket: the payload of one text message, followed by a close frame. Form: `error` of OpenAI's
 * Realtime events (platform.openai.com/docs/api-reference/realtime-server-events/error).
 */
export function renderSessionError(code: ErrorCode, message: string, requestId: string): Buffer {
  const { error } = errorBody('openai', code, withFix(message, errorTable[code].fix), requestId) as {
    error: object;
  };
  const event = { type: 'error', event_id: `event_${requestId}`, error: { ...error, event_id: null } };
  return Buffer.from(JSON.stringify(event));
}

/** Has this content type a place for an error event in mid-stream? Gemini's JSON arrays and audio bytes have none. */
export function hasEventFraming(contentType: string | null): boolean {
  return contentType !== null && /^text\/event-stream\s*(?:;|$)/i.test(contentType.trim());
}

function errorBody(dialect: Dialect, code: ErrorCode, text: string, requestId: string): object {
  const { status } = errorTable[code];
  const [type, googleStatus] = kinds[status] ?? kinds[status < 500 ? 400 : 502]!;
  const message = text.length > maxMessage ? `${text.slice(0, maxMessage - 1)}…` : text;
  if (dialect === 'anthropic') return { type: 'error', error: { type, message }, request_id: requestId };
  if (dialect === 'google') return { error: { code: status, message, status: googleStatus } };
  return { error: { message, type, param: null, code: openaiCodes[code] ?? code } };
}

/** What happened and what to do, in one text: clients show nothing else. */
function withFix(message: string, fix: string): string {
  if (fix === '' || message.includes(fix)) return message;
  return `${message}${/[.!?…]$/.test(message) ? '' : '.'} ${fix}`;
}

function retryAfterOf(error: SallyportError, status: number): number | null {
  if (error.retryAfter !== null) return Math.max(0, Math.ceil(error.retryAfter));
  return error.code === 'RATE_LIMITED' || status === 503 ? 1 : null;
}
