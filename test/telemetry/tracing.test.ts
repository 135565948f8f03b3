import { registerHooks } from 'node:module';
import { once } from 'node:events';
import t from 'tap';
import { WebSocket } from 'ws';
import { createEgress } from '../../src/egress/egress.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { openTracer } from '../../src/tracing.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { socketUpstream } from '../support/socket-upstream.ts';
import { scriptUpstream, type SeenRequest, type Upstream } from '../support/upstream.ts';

const key = 'sk-traced-0123456789abcdefghij';
const prompt = 'the secret of the prompt';
const client = { trace: '4bf92f3577b34da6a3ce929d0e0e4736', span: '00f067aa0ba902b7' };

/** What was asked for of OpenTelemetry's SDK; its small API package comes with the metrics' library. */
const loaded: string[] = [];
let isMissing = false;
const hooks = registerHooks({
  resolve(specifier, context, next) {
    if (/^@opentelemetry\/(?!api$)/.test(specifier)) {
      loaded.push(specifier);
      if (isMissing) throw Object.assign(new Error('not found'), { code: 'ERR_MODULE_NOT_FOUND' });
    }
    return next(specifier, context);
  },
});
t.teardown(() => hooks.deregister());

interface Span {
  readonly name: string;
  readonly kind: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly status: { readonly code: number };
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly ms: number;
}

/** The spans of all that a collector got, with attributes as they were set. */
function spansOf({ requests }: Upstream): Span[] {
  const valueOf = (value: Record<string, unknown>): unknown => {
    const [kind = '', content] = Object.entries(value)[0] ?? [];
    return kind === 'intValue' ? Number(content) : content;
  };
  const attributesOf = (list: { key: string; value: Record<string, unknown> }[]) =>
    Object.fromEntries(list.map(({ key, value }) => [key, valueOf(value)]));
  return requests
    .flatMap(({ body }) => JSON.parse(body.toString()).resourceSpans)
    .flatMap(({ scopeSpans }) => scopeSpans)
    .flatMap(({ spans }) => spans)
    .map((span) => ({
      ...span,
      attributes: attributesOf(span.attributes),
      ms: Number(BigInt(span.endTimeUnixNano) - BigInt(span.startTimeUnixNano)) / 1e6,
    }));
}

async function ask(
  { origin, token }: TestGateway,
  headers: Readonly<Record<string, string>> = {},
  more: object = {},
): Promise<Response> {
  const response = await fetch(`${origin}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ model: 'gpt-4o', messages: [{ role: 'user', content: prompt }], ...more }),
  });
  await response.arrayBuffer();
  return response;
}

const usage = {
  prompt_tokens: 12,
  completion_tokens: 5,
  total_tokens: 17,
  prompt_tokens_details: { cached_tokens: 8 },
};

function play({ body }: SeenRequest) {
  const { model, stream } = JSON.parse(body.toString()) as { model: string; stream?: boolean };
  if (model === 'gpt-429') return { status: 429, body: { error: { message: 'slow down' } } };
  const answer = { id: 'c', model: 'gpt-4o-2024-11-20', object: 'chat.completion', usage };
  if (stream !== true)
    return {
      headers: { 'x-request-id': 'req_1' },
      body: { ...answer, choices: [{ index: 0, message: {} }] },
    };
  return { events: [JSON.stringify({ ...answer, choices: [] }), '[DONE]'] };
}

t.test('off, nothing of the SDK is loaded, and trace headers stay here', async (t) => {
  const upstream = await scriptUpstream(t, play);
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
  await gateway.addKey('openai', key);
  const parent = { traceparent: `00-${client.trace}-${client.span}-01`, tracestate: 'a=b' };
  t.equal((await ask(gateway, parent)).status, 200);
  t.notOk(upstream.requests[0]?.headers['traceparent']);
  t.notOk(upstream.requests[0]?.headers['tracestate']);
  t.same(loaded, []);
});

t.test('asked for without its packages, the start says what to do', async (t) => {
  isMissing = true;
  const egress = createEgress();
  const log = createLog({ level: 'silent', write: () => {} });
  const config = { otlpEndpoint: 'http://127.0.0.1:4318', otelServiceName: 'x' };
  await t.rejects(openTracer(config, { egress, log, version: '1' }), {
    code: 'CONFIG_INVALID',
    message: /packages are not installed/,
  });
  isMissing = false;
  t.ok(loaded.length > 0, 'the hook sees what is loaded');
});

t.test('on, each call and attempt is a span, and its context goes both ways', async (t) => {
  const collector = await scriptUpstream(t, [{ body: {} }]);
  const upstream = await scriptUpstream(t, play);
  const sessions = await socketUpstream(t);
  const gateway = await startGateway(t, {
    upstreams: { openai: upstream.origin, xai: sessions.origin },
    settings: { OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.origin}/base/`, OTEL_SERVICE_NAME: 'my-gateway' },
  });
  await gateway.addKey('xai', 'xai-traced-0123456789abcdefghij');
  const keyId = await gateway.addKey('openai', key);
  const sampled = `00-${client.trace}-${client.span}-01`;

  const whole = await ask(gateway, { traceparent: sampled, tracestate: 'vendor=1,other=2' });
  await ask(gateway, {}, { stream: true });
  await ask(gateway, {}, { model: 'gpt-429' });
  const stranger = await ask(gateway, { authorization: `Bearer ${gateway.token.slice(0, -1)}` });
  await ask(gateway, { traceparent: sampled.replace(/1$/, '0'), 'user-agent': 'unsampled' });
  const nonsense = `00-${client.trace}-${client.span}-01-x`;
  await ask(gateway, { traceparent: nonsense, tracestate: '='.repeat(600), 'user-agent': 'nonsense' });
  await ask(gateway, {}, { model: 'openai/sk-proj-a-key-in-the-wrong-place-0123456789' });
  upstream.respond((_, answer) => void answer.socket?.resetAndDestroy());
  const broken = await ask(gateway);
  const next = sessions.next();
  const socket = new WebSocket(`${gateway.origin.replace('http', 'ws')}/xai/v1/realtime?model=grok-4`, {
    headers: { authorization: `Bearer ${gateway.token}` },
  });
  const [session] = await Promise.all([next, once(socket, 'open')]);
  socket.close();
  await once(socket, 'close');
  await gateway.stop();

  const spans = spansOf(collector);
  const calls = spans.filter(({ name }) => name === 'gateway call');
  const sentBy = (agent: string) =>
    upstream.requests.find(({ headers }) => headers['user-agent'] === agent) as SeenRequest;
  const of = (response: Response, from = spans) => {
    const call = calls.find(
      (one) => one.attributes['sallyport.call.id'] === response.headers.get('x-request-id'),
    );
    return { call: call as Span, attempts: from.filter(({ parentSpanId }) => parentSpanId === call?.spanId) };
  };

  t.test('a call with a parent', async (t) => {
    const { call, attempts } = of(whole);
    const [attempt] = attempts;
    t.match(call, { kind: 2, traceId: client.trace, parentSpanId: client.span, status: { code: 0 } });
    t.match(call.attributes, {
      'http.request.method': 'POST',
      'http.response.status_code': 200,
      'sallyport.workspace.id': gateway.workspaceId,
      'sallyport.token.id': /^tok_/,
      'sallyport.attempts': 1,
    });
    t.match(attempt, { name: 'chat gpt-4o', kind: 3, traceId: client.trace });
    t.match(attempt?.attributes, {
      'gen_ai.operation.name': 'chat',
      'gen_ai.provider.name': 'openai',
      'gen_ai.request.model': 'gpt-4o',
      'gen_ai.response.model': 'gpt-4o-2024-11-20',
      'gen_ai.usage.input_tokens': 12,
      'gen_ai.usage.output_tokens': 5,
      'gen_ai.usage.cache_read.input_tokens': 8,
      'http.response.status_code': 200,
      'server.address': '127.0.0.1',
      'server.port': upstream.port,
      'sallyport.operation': 'openai.chat',
      'sallyport.key.id': keyId,
      'sallyport.key.source': 'own',
      'sallyport.upstream_request.id': 'req_1',
    });
    t.notOk('error.type' in call.attributes);
    const { headers } = upstream.requests[0] as SeenRequest;
    t.equal(
      headers['traceparent'],
      `00-${client.trace}-${attempt?.spanId}-01`,
      'the attempt is the provider’s parent',
    );
    t.equal(headers['tracestate'], 'vendor=1,other=2');
    t.ok(call.ms >= (attempt?.ms ?? Infinity) && call.ms < 60_000, 'the call is the longer one');
  });

  t.test('a stream, with what it used', async (t) => {
    const span = spans.find(({ attributes }) => attributes['gen_ai.request.stream'] === true);
    t.match(span?.attributes, { 'gen_ai.usage.input_tokens': 12, 'gen_ai.usage.output_tokens': 5 });
  });

  t.test('a refusal of the provider’s', async (t) => {
    const attempt = spans.find(({ name }) => name === 'chat gpt-429');
    t.match(attempt, {
      status: { code: 2 },
      attributes: { 'http.response.status_code': 429, 'error.type': 'UPSTREAM_RATE_LIMITED' },
    });
    const call = calls.find(({ spanId }) => spanId === attempt?.parentSpanId);
    t.match(call, { status: { code: 0 }, attributes: { 'http.response.status_code': 429 } });
    const attempts = spans.filter(({ name }) => name === 'chat gpt-429');
    t.equal(call?.attributes['sallyport.attempts'], attempts.length);
    t.same(
      attempts.map(({ attributes }) => attributes['http.request.resend_count']),
      attempts.map((_, n) => (n === 0 ? undefined : n)),
      'each attempt, counted',
    );
    t.ok(attempts.length > 1, 'it was sent again');
  });

  t.test('a stranger has a span of a call, and no attempt', async (t) => {
    const { call, attempts } = of(stranger);
    t.match(call.attributes, { 'http.response.status_code': 401, 'error.type': 'AUTH_INVALID' });
    t.same(attempts, []);
  });

  t.test('a client that does not sample is heard, and his context passed on', async (t) => {
    t.equal(calls.filter(({ traceId }) => traceId === client.trace).length, 1, 'the sampled one');
    const { headers } = sentBy('unsampled');
    t.match(headers['traceparent'], new RegExp(`^00-${client.trace}-(?!${client.span})[0-9a-f]{16}-00$`));
  });

  t.test('nonsense begins a trace of its own', async (t) => {
    const { headers } = sentBy('nonsense');
    t.match(headers['traceparent'], /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    t.notMatch(headers['traceparent'], client.trace);
    t.notOk(headers['tracestate']);
  });

  t.test('a provider that breaks off', async (t) => {
    const { call, attempts } = of(broken);
    t.match(call, { status: { code: 2 }, attributes: { 'http.response.status_code': 502 } });
    t.equal(call.attributes['sallyport.attempts'], attempts.length);
    t.match(attempts[0], { status: { code: 2 } });
    if (attempts.length > 1)
      t.match(attempts.at(-1)?.attributes, { 'http.request.resend_count': attempts.length - 1 });
  });

  t.test('a session over a WebSocket', async (t) => {
    const attempt = spans.find(({ attributes }) => attributes['gen_ai.provider.name'] === 'x_ai');
    const call = calls.find(({ spanId }) => spanId === attempt?.parentSpanId);
    t.match(attempt, { name: 'openai.realtime grok-4', attributes: { 'http.response.status_code': 101 } });
    t.match(call?.attributes, { 'http.response.status_code': 101, 'sallyport.attempts': 1 });
    t.match(session.request.headers['traceparent'], `-${attempt?.spanId}-01`);
  });

  t.test('what a collector gets', async (t) => {
    for (const { method, path, headers, body } of collector.requests) {
      t.equal(`${method} ${path}`, 'POST /base/v1/traces');
      t.equal(headers['content-type'], 'application/json');
      t.equal(headers.authorization, undefined);
      const text = body.toString();
      for (const secret of [key, gateway.token, gateway.adminToken, prompt, 'a-key-in-the-wrong-place'])
        t.notOk(text.includes(secret), 'no key, no token, no prompt');
      t.match(JSON.parse(text).resourceSpans[0].resource.attributes, [
        { key: 'service.name', value: { stringValue: 'my-gateway' } },
        { key: 'service.version', value: { stringValue: 'test' } },
      ]);
    }
  });
});

t.test('with its collector away the gateway serves, warns once, and stops in time', async (t) => {
  const upstream = await scriptUpstream(t, play);
  const away = await scriptUpstream(t, [{ body: {} }]);
  await away.close();
  const gateway = await startGateway(t, {
    upstreams: { openai: upstream.origin },
    settings: { OTEL_EXPORTER_OTLP_ENDPOINT: away.origin },
  });
  await gateway.addKey('openai', key);
  t.equal((await ask(gateway)).status, 200);
  await gateway.stop();
  const warnings = gateway.logLines.filter((line) => line.includes('trace.export-failed'));
  t.equal(warnings.length, 1);
  t.match(warnings[0], '"level":"warn"');
});
