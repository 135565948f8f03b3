import type { FastifyReply, FastifyRequest } from 'fastify';
import { wrongMoment } from '../../admin/moment.ts';
import { isDatabaseGone } from '../../db/connection.ts';
import { type ErrorCode, errorTable, SallyportError } from '../../errors.ts';
import { momentPattern } from './shapes.ts';

/** RFC 9457, as WIRE.md has it. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail: string;
  readonly fix: string;
  readonly requestId: string;
  readonly errors: readonly { readonly path: string; readonly message: string }[];
}

export function toProblem(error: SallyportError, requestId: string): Problem {
  const { code, message, fix, errors, status } = error;
  const type = `urn:sallyport:error:${code}`;
  return { type, title: errorTable[code].title, status, code, detail: message, fix, requestId, errors };
}

export function sendProblem(
  request: FastifyRequest,
  reply: FastifyReply,
  error: SallyportError,
): FastifyReply {
  if (error.status === 401)
    void reply.header('www-authenticate', 'Bearer realm="sallyport", error="invalid_token"');
  if (error.retryAfter !== null)
    void reply.header('retry-after', String(Math.max(1, Math.ceil(error.retryAfter))));
  return reply
    .code(error.status)
    .header('x-sallyport-code', error.code)
    .type('application/problem+json')
    .send(JSON.stringify(toProblem(error, request.id)));
}

/** What a validator says of one member. */
interface Finding {
  readonly instancePath?: string;
  readonly keyword?: string;
  readonly message?: string;
  readonly params?: Readonly<Record<string, unknown>>;
}

/**
 * Whatever was thrown, as an error of the table. Messages of parsers and libraries are dropped: they quote their input, and a body here
 * may hold a key.
 */
export function toSallyportError(error: unknown): SallyportError {
  if (error instanceof SallyportError) return error;
  const told = error as {
    code?: unknown;
    statusCode?: unknown;
    validation?: unknown;
    validationContext?: unknown;
  };
  if (Array.isArray(told.validation))
    return invalidRequest(told.validation as Finding[], String(told.validationContext));
  switch (told.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new SallyportError('BODY_TOO_LARGE', 'The body is larger than 64 KiB.', { fix: 'Send less.' });
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new SallyportError(
        'REQUEST_INVALID',
        'The body has to be JSON, sent as content-type: application/json.',
      );
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return new SallyportError('REQUEST_INVALID', 'The body is empty, and said to be JSON.', {
        fix: 'Send a body, or leave out the content-type.',
      });
    default:
  }
  if (isDatabaseGone(error)) {
    return new SallyportError('AUTH_UNAVAILABLE', 'The database is out of reach.', {
      retryAfter: 1,
      cause: error,
    });
  }
  if (typeof told.statusCode === 'number' && told.statusCode >= 400 && told.statusCode < 500) {
    return new SallyportError(
      'REQUEST_INVALID',
      'The request cannot be read: its body has to be one JSON object.',
    );
  }
  return new SallyportError('INTERNAL', 'Something failed inside the gateway.', { cause: error });
}

function invalidRequest(findings: readonly Finding[], where: string): SallyportError {
  const errors = readable(findings)
    .slice(0, 8)
    .flatMap((finding) => toErrors(finding));
  const [first] = errors;
  const place = where === 'querystring' ? 'query' : where === 'params' ? 'path' : 'body';
  const detail =
    first === undefined
      ? `The ${place} is not valid.`
      : `The ${place} is not valid: ${first.path || '/'} ${first.message}.`;
  return new SallyportError('REQUEST_INVALID', detail, { errors });
}

/**
 * Without what says the same twice: `boolean` goes with `additionalProperties` (and has the pasted name in its path), a union's branches
 * with the union, a length with a shape that is wrong anyway.
 */
function readable(findings: readonly Finding[]): readonly Finding[] {
  const unions = new Set(
    findings.filter(({ keyword }) => keyword === 'anyOf').map(({ instancePath }) => instancePath),
  );
  const shapeless = new Set(
    findings.filter(({ keyword }) => keyword === 'pattern').map(({ instancePath }) => instancePath),
  );
  return findings.filter(
    ({ keyword = '', instancePath }) =>
      keyword !== 'boolean' &&
      !(unions.has(instancePath) && ['const', 'type', 'enum'].includes(keyword)) &&
      !(shapeless.has(instancePath) && keyword === 'minLength'),
  );
}

function toErrors({ instancePath = '', keyword, message = 'is not valid', params = {} }: Finding): {
  path: string;
  message: string;
}[] {
  if (keyword === 'additionalProperties') {
    const names = [params['additionalProperties'] ?? params['additionalProperty']].flat();
    return names
      .slice(0, 8)
      .map((name) => ({ path: `${instancePath}/${shownName(name)}`, message: 'is not a known field' }));
  }
  if (keyword === 'required') {
    const names = [params['requiredProperties'] ?? params['missingProperty']].flat();
    return names
      .slice(0, 8)
      .map((name) => ({ path: `${instancePath}/${shownName(name)}`, message: 'is required' }));
  }
  if (keyword === 'anyOf') return [{ path: instancePath, message: 'has none of the forms that are allowed' }];
  if (keyword === 'enum' && Array.isArray(params['allowedValues'])) {
    return [{ path: instancePath, message: `must be one of ${params['allowedValues'].join(', ')}` }];
  }
  // The message would print our pattern, which helps nobody.
  if (keyword === 'pattern') {
    const isMoment = params['pattern'] === momentPattern;
    const wrong = isMoment ? wrongMoment : 'has characters that are not allowed, or a token or seal';
    return [{ path: instancePath, message: wrong }];
  }
  return [{ path: instancePath, message }];
}

/** A key pasted into the place of a name must not come back: only what looks like a field's name is shown. */
function shownName(name: unknown): string {
  return typeof name === 'string' && /^[A-Za-z][A-Za-z0-9]{0,31}$/.test(name) ? name : '?';
}
