import Anthropic from '@anthropic-ai/sdk';
import { GoogleGenAI } from '@google/genai';
import Groq from 'groq-sdk';
import OpenAI from 'openai';
import t, { type Test } from 'tap';
import { providers } from '../../src/providers/catalogue.ts';
import type { Provider } from '../../src/providers/provider.ts';
import { startGateway } from '../support/gateway.ts';
import { type Answer, scriptUpstream, type SeenRequest } from '../support/upstream.ts';
import { googleMethods } from './google-surface.ts';
import { inTurns, type Method, outcomeOf, surfaceOf } from './sdk-surface.ts';

/** One answer for all: what pages, pollers and parsers look for. */
const object = {
  id: 'obj_1',
  object: 'thing',
  status: 'completed',
  model: 'gpt-4o-mini',
  data: [{ id: 'item_1', embedding: 'AACAPgAAAL8=' }],
  has_more: false,
  choices: [],
  output: [],
  content: [],
};
const refusals = [400, 404, 422] as const;

/** What the stand-in plays is said in the user agent: `ok 17`, `stream 17`, `refuse 17`. */
function play({ headers, method, path, body }: SeenRequest): Answer {
  const [kind, number = '0'] = (headers['user-agent'] ?? '').split(' ');
  // Different for each request, so that a mix-up would show.
  const echo = { ...object, echo: `${method} ${path} ${body.length}` };
  if (kind === 'ok') return { body: echo };
  if (kind === 'refuse') {
    const message = `No such thing: ${method} ${path}`;
    const error = { message, type: 'invalid_request_error', param: 'p', code: 'c' };
    return { status: refusals[Number(number) % refusals.length] ?? 400, body: { type: 'error', error } };
  }
  // Spliced for usage: the length is not the client's.
  const event = { ...object, echo: `${method} ${path}` };
  if (headers['anthropic-version'] !== undefined) {
    const names = ['message_start', 'message_stop'];
    return {
      events: names.map((type) => `event: ${type}\ndata: ${JSON.stringify({ type, message: event })}\n\n`),
    };
  }
  if (headers['x-goog-api-client'] !== undefined) {
    const candidates = [{ content: { role: 'model', parts: [{ text: 'hello' }] }, finishReason: 'STOP' }];
    return { events: [JSON.stringify({ candidates, responseId: event.echo })] };
  }
  const last = { type: 'response.completed', response: event };
  return { events: [JSON.stringify({ type: 'delta', ...event }), JSON.stringify(last), '[DONE]'] };
}

/** Answered on /v1 by the gateway itself, for all providers together (test/gateway/models.test.ts). */
const ofGateway = /^models\.(?:list|retrieve)$/;

/** Methods that call others again and again, or nobody: what they send is what those send. */
const helpers =
  /(?:stream|Stream|runTools|toolRunner|thread|(?<!work\.)poll|poller|worker|Poll|waitForProcessing)$|^beta\.agents\.environments\.files\.(?:prepare|upload)$/;
const local = /^(?:beta\.)?webhooks\.(?:unwrap|verifySignature|parseUnverified)$|\.forResult$/;

const body = {
  model: 'gpt-4o-mini',
  input: 'hello',
  prompt: 'hello',
  messages: [{ role: 'user', content: 'hello' }],
  max_tokens: 9,
};

interface Surface {
  readonly provider: 'openai' | 'anthropic' | 'google' | 'groq';
  /** Behind the gateway's origin, for the answers and for the refusals. */
  readonly bases: readonly [ok: string, refused: string];
  /** Behind the stand-in's own origin. */
  readonly base: string;
  readonly key: string;
  /** At least so many methods; a new version has more. */
  readonly atLeast: number;
  readonly model: string;
  /** What the gateway refuses, and why; every name that matches. */
  readonly refused: readonly (readonly [RegExp, string])[];
  connect(baseURL: string, apiKey: string): object;
  /** Where looking at the client does not find them. */
  readonly methods?: readonly Method[];
}

const surfaces: readonly Surface[] = [
  {
    provider: 'openai',
    bases: ['/v1', '/openai/v1'],
    base: '/v1',
    key: 'sk-surface-0123456789',
    atLeast: 380,
    model: 'gpt-4o-mini',
    refused: [
      [/^admin\./, 'the account is not administered through a key for calls'],
      [/^realtime\.(?:translations\.)?clientSecrets\./, 'ephemeral keys are keys'],
      [/^beta\.realtime\.(?:sessions|transcriptionSessions)\./, 'the older way to ephemeral keys'],
      [/^beta\.chatkit\.sessions\./, 'sessions are answered with a client secret'],
      [/^fineTuning\.checkpoints\.permissions\./, 'takes an admin key'],
      [
        /^webhooks\.(?:create|update|rotateSecret|test)$/,
        'answered with a signing secret; or changes what sends to it',
      ],
    ],
    connect: (baseURL, apiKey) => new OpenAI({ apiKey, adminAPIKey: apiKey, baseURL, maxRetries: 0 }),
  },
  {
    provider: 'anthropic',
    bases: ['/anthropic', '/anthropic'],
    base: '',
    key: 'sk-ant-surface-0123456789',
    atLeast: 350,
    model: 'claude-sonnet-5-5',
    refused: [
      [/^(?:beta\.)?organization\./, 'the account is not administered through a key for calls'],
      [/^beta\.tunnels\.(?:revealToken|rotateToken)$/, 'answered with a token'],
      [/^beta\.environments\.work\.poll$/, 'answered with a session’s credential'],
    ],
    connect: (baseURL, apiKey) => new Anthropic({ apiKey, baseURL, maxRetries: 0 }),
  },
  {
    provider: 'google',
    bases: ['/google', '/google'],
    base: '',
    key: 'AIzaSySurface000000000000000000000000000',
    atLeast: 30,
    model: 'gemini-2.5-flash',
    refused: [[/^authTokens\./, 'ephemeral tokens are keys']],
    connect: (baseUrl, apiKey) => new GoogleGenAI({ apiKey, httpOptions: { baseUrl } }),
    methods: googleMethods,
  },
  {
    provider: 'groq',
    bases: ['/groq', '/groq'],
    base: '',
    key: 'gsk_surface-0123456789',
    atLeast: 15,
    model: 'llama-3.3-70b-versatile',
    refused: [],
    connect: (baseURL, apiKey) => new Groq({ apiKey, baseURL, maxRetries: 0 }),
  },
];

t.test(
  'every method of the SDKs’ resources reaches the provider as it would without the gateway',
  async (t) => {
    const seen = new Map<string, SeenRequest[]>();
    const upstream = await scriptUpstream(t, (request) => {
      seen.getOrInsert(request.headers['user-agent'] ?? '', []).push(request);
      return play(request);
    });
    const gateway = await startGateway(t, {
      upstreams: Object.fromEntries(surfaces.map(({ provider }) => [provider, upstream.origin])),
    });
    const made = await gateway.api('POST', '/tokens', {
      name: 'surface',
      requestsPerMinute: 1_000_000,
      concurrentCalls: 1000,
    });
    for (const surface of surfaces) {
      await gateway.addKey(surface.provider, surface.key);
      await t.test(surface.provider, (t) =>
        drive(t, {
          surface,
          seen,
          upstream: upstream.origin,
          gateway: gateway.origin,
          token: made.body.token,
        }),
      );
    }
  },
);

interface Drive {
  readonly surface: Surface;
  /** Requests by the mark that they carry. */
  readonly seen: ReadonlyMap<string, readonly SeenRequest[]>;
  readonly upstream: string;
  readonly gateway: string;
  readonly token: string;
}

async function drive(t: Test, { surface, seen, upstream, gateway, token }: Drive): Promise<void> {
  const direct = surface.connect(upstream + surface.base, surface.key);
  const [ok, refused] = surface.bases.map((base) => surface.connect(gateway + base, token));
  const all = surface.methods ?? surfaceOf(direct, { ...body, model: surface.model });
  t.ok(all.length >= surface.atLeast, `${all.length} methods`);
  const methods = all.filter(({ name }) => !helpers.test(name) && !local.test(name));
  const isRefused = ({ name }: Method): boolean => surface.refused.some(([names]) => names.test(name));
  const provider = providers.get(surface.provider) as Provider;
  const runs = methods.flatMap((method) => [
    { kind: 'ok', method, client: surface.bases[0] === '/v1' && ofGateway.test(method.name) ? refused : ok },
    ...(isRefused(method) ? [] : [{ kind: 'refuse', method, client: refused }]),
    ...(method.streams ? [{ kind: 'stream', method, client: ok }] : []),
  ]);
  const forbidden: string[] = [];
  await inTurns(runs.entries(), 12, async ([number, { kind, method, client }]) => {
    const what = `${method.name} (${kind})`;
    const mark = `${kind} ${number} ${surface.provider}`;
    const change = (usual: object) => (kind === 'stream' ? { ...usual, stream: true } : { ...usual });
    const found = await outcomeOf(() => method.call(client as object, `${mark} gateway`, change));
    const relayed = seen.get(`${mark} gateway`) ?? [];
    if (isRefused(method)) {
      // One takes an array, which is refused before anything is looked up.
      const message = /hands out provider credentials|is not a JSON object/;
      t.match({ found, relayed: relayed.length }, { found: { message }, relayed: 0 }, what);
      forbidden.push(method.name);
      return;
    }
    const expected = await outcomeOf(() => method.call(direct, `${mark} direct`, change));
    const plain = seen.get(`${mark} direct`) ?? [];
    const key = provider.credential.prefix + surface.key;
    if (plain.length === 0) t.fail(`${what} made no request`);
    t.same(
      { found, sent: relayed.map((request) => whatOf(request, provider, kind)) },
      {
        found: expected,
        sent: plain.map((request) => ({
          ...whatOf(request, provider, kind),
          others: { [provider.credential.header]: key },
        })),
      },
      what,
    );
  });
  for (const [names, reason] of surface.refused)
    t.ok(
      forbidden.some((name) => names.test(name)),
      `refused: ${reason}`,
    );
  t.comment(`${methods.length} methods, ${forbidden.length} of them refused`);
}

/** The gateway's own, or the connection's. */
const framing = new Set([
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'accept-encoding',
  'x-sallyport-hop',
]);

/** What a provider sees of a request, but for the boundary of a form and the mark. `others`: headers of which the allow-list knows nothing. */
function whatOf(
  { method, path, headers, body }: SeenRequest,
  { requestHeaders, ownKeyHeaders }: Provider,
  kind: string,
) {
  // The keys of these tests are the caller's own.
  const isAllowed = (name: string): boolean => requestHeaders.has(name) || ownKeyHeaders.has(name);
  const boundary = /boundary=(\S+)/.exec(headers['content-type'] ?? '')?.[1];
  const plain = (text: string): string =>
    boundary === undefined ? text : text.replaceAll(boundary, 'BOUNDARY');
  const pick = (isWanted: (name: string) => boolean) =>
    Object.fromEntries(
      Object.entries(headers)
        .filter(([name]) => isWanted(name) && name !== 'user-agent' && !framing.has(name))
        .map(([name, value]) => [name, plain(String(value))]),
    );
  const text = plain(body.toString('latin1'));
  return {
    method,
    path,
    headers: pick(isAllowed),
    others: pick((name) => !isAllowed(name)),
    body: kind === 'stream' ? text.replace('"stream_options":{"include_usage":true},', '') : text,
  };
}
