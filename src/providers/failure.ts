import { isObject, type JsonObject, objectAt, objectsAt, parseJson } from '../dialects/dialect.ts';
import type { ErrorCode } from '../errors.ts';

/** What a status means at any provider; 401 and 403 are the key's matter and decided before. */
export function classifyStatus(status: number): ErrorCode | null {
  if (status === 429) return 'UPSTREAM_RATE_LIMITED';
  // 529: Anthropic's "overloaded" (platform.claude.com, "Errors"); others borrow it.
  if (status === 503 || status === 529) return 'UPSTREAM_OVERLOADED';
  if (status === 504) return 'UPSTREAM_TIMEOUT';
  if (status >= 500) return 'UPSTREAM_ERROR';
  return null;
}

/** Error bodies as objects; Gemini wraps them into an array where the answer would have been one. */
export function errorObjects(body: Buffer): readonly JsonObject[] {
  const value = parseJson(body.toString('utf8'));
  const errors = Array.isArray(value)
    ? objectsAt({ errors: value }, 'errors')
    : isObject(value)
      ? [value]
      : [];
  return errors.slice(0, 16);
}

/** Google answers 400 to a wrong or expired key, with this reason (google.rpc.ErrorInfo of googleapis.com). */
export function saysApiKeyInvalid(body: Buffer): boolean {
  return errorObjects(body).some((answer) =>
    objectsAt(objectAt(answer, 'error'), 'details').some((detail) => detail['reason'] === 'API_KEY_INVALID'),
  );
}

/** OpenAI's of a restricted key that is used for what it is not for: 401 or 403 (seen on the wire), and it has no code. */
export function saysScopesMissing(body: Buffer): boolean {
  return errorObjects(body).some((answer) => {
    const { message } = objectAt(answer, 'error');
    return (
      typeof message === 'string' &&
      message.startsWith('You have insufficient permissions for this operation. Missing scopes: ')
    );
  });
}
