import t from 'tap';
import type { Dialect } from '../../src/dialects/dialect.ts';
import { hasEventFraming, renderError, renderStreamError } from '../../src/dialects/error-answer.ts';
import { type ErrorCode, errorTable, SallyportError } from '../../src/errors.ts';
import { createSseSplitter } from '../../src/dialects/sse.ts';

const id = 'call_0198c0de';
const codes = Object.keys(errorTable) as ErrorCode[];
const dialects: readonly Dialect[] = ['openai', 'anthropic', 'google'];
const render = (
  dialect: Dialect,
  code: ErrorCode,
  options = {},
): { status: number; headers: Record<string, string>; json: Record<string, unknown> } => {
  const { status, headers, body } = renderError(
    dialect,
    new SallyportError(code, 'It happened', { fix: 'Do this.', ...options }),
    id,
  );
  return { status, headers, json: JSON.parse(body.toString()) as Record<string, unknown> };
};

t.test('each dialect has its form, to the letter', async (t) => {
  const message = 'It happened. Do this.';
  t.same(render('openai', 'KEY_MISSING').json, {
    error: { message, type: 'invalid_request_error', param: null, code: 'KEY_MISSING' },
  });
  t.same(render('anthropic', 'KEY_MISSING').json, {
    type: 'error',
    error: { type: 'invalid_request_error', message },
    request_id: id,
  });
  t.same(render('google', 'KEY_MISSING').json, {
    error: { code: 409, message, status: 'FAILED_PRECONDITION' },
  });
});

t.test('type and Google status follow the HTTP status', async (t) => {
  const table: readonly (readonly [ErrorCode, number, string, string])[] = [
    ['REQUEST_INVALID', 400, 'invalid_request_error', 'INVALID_ARGUMENT'],
    ['BODY_TOO_LARGE', 413, 'invalid_request_error', 'INVALID_ARGUMENT'],
    ['AUTH_INVALID', 401, 'authentication_error', 'UNAUTHENTICATED'],
    ['SEAL_WRONG', 403, 'permission_error', 'PERMISSION_DENIED'],
    ['MODEL_UNKNOWN', 404, 'not_found_error', 'NOT_FOUND'],
    ['KEY_ORIGIN', 409, 'invalid_request_error', 'FAILED_PRECONDITION'],
    ['RATE_LIMITED', 429, 'rate_limit_error', 'RESOURCE_EXHAUSTED'],
    ['UPSTREAM_AUTH', 502, 'api_error', 'INTERNAL'],
    ['UPSTREAM_OVERLOADED', 503, 'overloaded_error', 'UNAVAILABLE'],
    ['UPSTREAM_TIMEOUT', 504, 'timeout_error', 'DEADLINE_EXCEEDED'],
    ['INTERNAL', 500, 'api_error', 'INTERNAL'],
    ['LOOP_DETECTED', 508, 'api_error', 'INTERNAL'],
    ['KEY_FORMAT', 422, 'invalid_request_error', 'INVALID_ARGUMENT'],
  ];
  for (const [code, status, type, googleStatus] of table) {
    t.equal(render('openai', code).status, status);
    t.match(render('openai', code).json, { error: { type } }, code);
    t.match(render('anthropic', code).json, { error: { type } }, code);
    t.match(render('google', code).json, { error: { code: status, status: googleStatus } }, code);
  }
});

t.test("OpenAI's clients see the codes that they know; ours stands in the header", async (t) => {
  const known: Partial<Record<ErrorCode, string>> = {
    AUTH_MISSING: 'invalid_api_key',
    AUTH_INVALID: 'invalid_api_key',
    RATE_LIMITED: 'rate_limit_exceeded',
    UPSTREAM_RATE_LIMITED: 'rate_limit_exceeded',
    MODEL_UNKNOWN: 'model_not_found',
    BUDGET_EXHAUSTED: 'insufficient_quota',
  };
  for (const code of codes) {
    const { json, headers } = render('openai', code);
    t.match(json, { error: { code: known[code] ?? code } });
    t.equal(headers['x-sallyport-code'], code);
  }
});

t.test('a refusal that a repeat can not mend says so, in every dialect', async (t) => {
  for (const dialect of dialects) {
    for (const code of codes) {
      const { headers, status } = render(dialect, code);
      t.equal(headers['x-should-retry'], errorTable[code].retry ? undefined : 'false', code);
      t.equal(headers['retry-after'], code === 'RATE_LIMITED' || status === 503 ? '1' : undefined, code);
      t.equal(headers['x-request-id'], id);
      t.equal(headers['request-id'], dialect === 'anthropic' ? id : undefined);
      t.match(headers['content-type'], /^application\/json/);
    }
  }
  t.equal(render('openai', 'RATE_LIMITED', { retryAfter: 2.2 }).headers['retry-after'], '3');
  t.equal(render('openai', 'UPSTREAM_RATE_LIMITED', { retryAfter: 7 }).headers['retry-after'], '7');
});

t.test('a message says what to do once, and has an end', async (t) => {
  const { body } = renderError(
    'openai',
    new SallyportError('NOT_FOUND', 'Gone. Check the path and the id.'),
    id,
  );
  t.match(JSON.parse(body.toString()), { error: { message: 'Gone. Check the path and the id.' } });
  const long = renderError('openai', new SallyportError('NOT_FOUND', 'x'.repeat(100_000)), id);
  t.ok(long.body.length < 3000);
});

t.test('a broken stream ends with an error event, also if it broke within an event', async (t) => {
  const events = (dialect: Dialect): { name: string | null; json: unknown } => {
    const splitter = createSseSplitter(10_000);
    splitter.push(Buffer.from('data: {"choices":[{"del'));
    const all = splitter.push(renderStreamError(dialect, 'UPSTREAM_STREAM_BROKEN', 'It broke off.', id));
    const last = all.at(-1);
    return { name: last?.name ?? null, json: JSON.parse(last?.data ?? '') };
  };
  t.same(events('openai'), {
    name: null,
    json: {
      error: { message: 'It broke off.', type: 'api_error', param: null, code: 'UPSTREAM_STREAM_BROKEN' },
    },
  });
  t.same(events('anthropic'), {
    name: 'error',
    json: {
      type: 'error',
      error: { type: 'api_error', message: 'UPSTREAM_STREAM_BROKEN: It broke off.' },
      request_id: id,
    },
  });
  t.same(events('google'), {
    name: null,
    json: { error: { code: 502, message: 'UPSTREAM_STREAM_BROKEN: It broke off.', status: 'INTERNAL' } },
  });
  for (const dialect of dialects)
    t.notMatch(renderStreamError(dialect, 'UPSTREAM_STREAM_BROKEN', 'x', id).toString(), /\[DONE\]/);
});

t.test('only event streams have a place for such an event', async (t) => {
  for (const type of [
    'text/event-stream',
    'text/event-stream; charset=utf-8',
    'Text/Event-Stream;charset=UTF-8',
  ])
    t.ok(hasEventFraming(type));
  for (const type of ['application/json', 'audio/mpeg', 'text/event-streams', '', null])
    t.notOk(hasEventFraming(type));
});
