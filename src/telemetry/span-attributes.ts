import type { Attributes } from '@opentelemetry/api';
import { operationName } from './operation-name.ts';
import { scrub } from './scrub.ts';
import type { TracedAttempt, TracedAttemptEnd, TracedCallEnd } from './tracer.ts';

/**
 * Names of OpenTelemetry's semantic conventions: opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans (`gen_ai.*`), …/http/http-spans,
 * …/general/attributes (`server.*`, `error.type`). What they have no name for stands under `sallyport.`.
 */
const providerNames: Readonly<Record<string, string>> = { google: 'gcp.gemini', xai: 'x_ai' };

/** `{operation} {model}`, as the conventions ask. */
export function attemptName({ operation, model }: TracedAttempt): string {
  const name = operationName(operation);
  return model === null ? name : `${name} ${text(model)}`;
}

export function attemptAttributes(attempt: TracedAttempt): Attributes {
  const { hostname, port, protocol } = new URL(attempt.origin);
  return known({
    'gen_ai.operation.name': operationName(attempt.operation),
    'gen_ai.provider.name': providerNames[attempt.provider] ?? attempt.provider,
    'gen_ai.request.model': attempt.model === null ? null : text(attempt.model),
    'gen_ai.request.stream': attempt.isStream ? true : null,
    'http.request.method': attempt.method,
    'http.request.resend_count': attempt.attempt > 1 ? attempt.attempt - 1 : null,
    'server.address': hostname,
    'server.port': Number(port === '' ? (protocol === 'http:' ? 80 : 443) : port),
    'sallyport.operation': attempt.operation,
    'sallyport.token.id': attempt.tokenId,
    'sallyport.key.id': attempt.keyId,
    'sallyport.key.source': attempt.keySource,
  });
}

export function attemptEndAttributes(end: TracedAttemptEnd): Attributes {
  return known({
    'http.response.status_code': end.status,
    'error.type': end.outcome === 'ok' ? null : end.outcome,
    'gen_ai.response.model': end.responseModel === null ? null : text(end.responseModel),
    'gen_ai.usage.input_tokens': end.usage?.inputTokens ?? null,
    'gen_ai.usage.output_tokens': end.usage?.outputTokens ?? null,
    'gen_ai.usage.cache_read.input_tokens': end.usage?.cachedInputTokens ?? null,
    'gen_ai.usage.cache_creation.input_tokens': end.usage?.cacheWriteInputTokens ?? null,
    'sallyport.upstream_request.id': end.upstreamRequestId === null ? null : text(end.upstreamRequestId),
  });
}

export function callEndAttributes(end: TracedCallEnd): Attributes {
  return known({
    'http.request.method': end.method,
    'http.response.status_code': end.status,
    'error.type': end.outcome === 'ok' ? null : end.outcome,
    'sallyport.workspace.id': end.workspaceId,
    'sallyport.token.id': end.tokenId,
    'sallyport.attempts': end.attempts,
  });
}

function known(attributes: Readonly<Record<string, string | number | boolean | null>>): Attributes {
  return Object.fromEntries(
    Object.entries(attributes).filter(
      (entry): entry is [string, string | number | boolean] => entry[1] !== null,
    ),
  );
}

/** What a client or a provider wrote where a name belongs may be a key. */
function text(value: string): string {
  return scrub(value.slice(0, 128));
}
