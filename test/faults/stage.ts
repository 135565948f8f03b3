import { once } from 'node:events';
import * as http from 'node:http';
import type { Test } from 'tap';
import type { CallTimeouts, TokenPolicy } from '../../src/token-policy.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { rawUpstream, type Cast, type RawUpstream } from '../support/raw-upstream.ts';
import type { Fault, Route } from './fault.ts';

const key = 'sk-test-stage-0123456789abcdef';

/** How one fault went, as its client saw it. */
export interface Played {
  readonly status: number | null;
  readonly header: (name: string) => string | null;
  readonly body: Buffer;
  readonly isWhole: boolean;
  /** Requests that came to the upstream. */
  readonly requests: number;
  /** The model that the call asked for: its name in the records. */
  readonly model: string;
}

interface Run {
  readonly fault: Fault;
  requests: number;
  heardBytes: number;
  readonly waiting: { readonly bytes: number; readonly done: () => void }[];
  /** Takes the client away. */
  leave: () => void;
  /** The gateway has seen that it is gone. */
  readonly left: PromiseWithResolvers<void>;
}

export interface Stage {
  readonly gateway: TestGateway;
  readonly upstream: RawUpstream;
  readonly token: string;
  readonly tokenId: string;
  play(fault: Fault): Promise<Played>;
  /** No call is under way, and no connection open on either side. */
  idle(): Promise<void>;
  /** `outcome endReason usageSource` of each attempt of a call, in order; all calls, by what `nameOf` gives. */
  ends(): Promise<ReadonlyMap<string, readonly string[]>>;
}

/** How a call is found in the records: by its id, or by its model where the client left before it was told one. */
export function nameOf(played: Played): string {
  return played.header('x-request-id') ?? played.model;
}

/** Calls that its token may have at once. */
export const places = 32;

type SentPolicy = Partial<Omit<TokenPolicy, 'timeouts'>> & { readonly timeouts?: Partial<CallTimeouts> };

const providers = ['openai', 'anthropic', 'google', 'groq', 'xai'] as const;

/** One gateway, short of patience, before an upstream that breaks each call as the call's fault says. */
export async function setStage(t: Test, policy: SentPolicy = {}): Promise<Stage> {
  const runs = new Map<string, Run>();
  let count = 0;

  const castOf = (head: string, body: Buffer): Cast | null => {
    const id = /gpt-fault-\d+/.exec(head)?.[0] ?? /gpt-fault-\d+/.exec(body.toString('latin1'))?.[0];
    const run = id === undefined ? undefined : runs.get(id);
    if (run === undefined) return null;
    const { fault } = run;
    return {
      ...(fault.isEarly === undefined ? {} : { isEarly: fault.isEarly }),
      async play(socket, request) {
        run.requests += 1;
        if (fault.leavesAfter === -1) run.leave();
        const heard = (bytes: number): Promise<void> =>
          run.heardBytes >= bytes
            ? Promise.resolve()
            : new Promise((done) => {
                run.waiting.push({ bytes, done });
              });
        await fault.play({ ...request, socket, heard, left: run.left.promise });
      },
    };
  };
  const upstream = await rawUpstream(t, castOf);
  const gateway = await startGateway(t, {
    upstreams: Object.fromEntries(providers.map((name) => [name, upstream.origin])),
    settings: {
      JOURNAL_SYNC: 'relaxed',
      LOG_LEVEL: 'warn',
      SALLYPORT_ALLOW_ORIGINS: upstream.origin,
    },
  });
  for (const provider of providers) await gateway.addKey(provider, key);
  await gateway.addKey('custom', key, { name: 'local', origins: [upstream.origin] });
  const { body: minted } = await gateway.api('POST', '/tokens', {
    name: 'faults',
    requestsPerMinute: 1_000_000,
    concurrentCalls: places,
    // One attempt: how many there are depends on what is known of a key, and here all use one.
    policy: { maxAttempts: 1, ...policy },
  });
  gateway.app.main.app.server.prependListener('request', (request, response) => {
    const run = runs.get(String(request.headers['x-fault']));
    if (run !== undefined) response.once('close', run.left.resolve);
  });
  const agent = new http.Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());

  return Object.freeze({
    gateway,
    upstream,
    token: minted.token,
    tokenId: minted.id,
    async play(fault: Fault): Promise<Played> {
      count += 1;
      const model = `gpt-fault-${count}`;
      const run: Run = {
        fault,
        requests: 0,
        heardBytes: -1,
        waiting: [],
        leave: () => {},
        left: Promise.withResolvers<void>(),
      };
      runs.set(model, run);
      const listen = (bytes: number): void => {
        run.heardBytes += bytes;
        for (const { bytes: wanted, done } of run.waiting) if (run.heardBytes >= wanted) done();
      };
      const seen = await askFor(gateway.origin, minted.token, agent, run, model, listen);
      runs.delete(model);
      return { ...seen, requests: run.requests, model };
    },
    async idle() {
      await gateway.app.dataPlane.gateway.idle();
      agent.destroy();
      gateway.app.main.app.server.closeIdleConnections();
      while (upstream.sockets.size > 0 || (await connectionsOf(gateway)) > 0)
        await new Promise((resolve) => setImmediate(resolve));
    },
    async ends() {
      await gateway.shipped();
      const rows = await gateway.database.store.asSystem((tx) =>
        tx
          .selectFrom('usage_events')
          .select([
            'call_id',
            'model',
            'outcome',
            'end_reason',
            'usage_source',
            'input_tokens',
            'output_tokens',
          ])
          .orderBy('attempt')
          .execute(),
      );
      const ends = new Map<string, string[]>();
      for (const { call_id, model, outcome, end_reason, usage_source, ...counts } of rows) {
        // An estimate is of both, and a count that is not known is none.
        const isCounted = counts.input_tokens !== null && (counts.output_tokens ?? 0n) > 0n;
        if (isCounted !== (usage_source !== 'unknown')) throw new Error(`${call_id}: ${usage_source} counts`);
        const all = ends.get(call_id) ?? [];
        all.push(`${outcome} ${end_reason} ${usage_source}`);
        ends.set(call_id, all);
        if (model !== null) ends.set(model, all);
      }
      return ends;
    },
  });
}

function connectionsOf({ app }: TestGateway): Promise<number> {
  return new Promise((resolve, reject) => {
    app.main.app.server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
  });
}

const paths: Readonly<Record<Route, (model: string, isStream: boolean) => string>> = {
  chat: () => '/v1/chat/completions',
  responses: () => '/v1/responses',
  messages: () => '/anthropic/v1/messages',
  gemini: (model, isStream) =>
    `/google/v1beta/models/${model}:${isStream ? 'streamGenerateContent?alt=sse' : 'generateContent'}`,
  custom: () => '/custom/local/chat/completions',
  files: (model) => `/openai/v1/files?name=${model}`,
  threads: () => '/openai/v1/threads/runs',
};

/** Without it the usage is held back, and with it an event until it is whole. */
const asks = { stream_options: { include_usage: true } };

async function askFor(
  origin: string,
  token: string,
  agent: http.Agent,
  run: Run,
  model: string,
  listen: (bytes: number) => void,
): Promise<Omit<Played, 'requests' | 'model'>> {
  const { route = 'chat', isStream = true, method = 'POST', leavesAfter } = run.fault;
  const body = Buffer.from(
    JSON.stringify({
      model,
      stream: isStream,
      ...(isStream ? asks : {}),
      messages: [{ role: 'user', content: 'Count' }],
    }),
  );
  const request = http.request(origin + paths[route](model, isStream), {
    method,
    agent,
    headers: {
      authorization: `Bearer ${token}`,
      'x-fault': model,
      'content-type': route === 'files' ? 'application/octet-stream' : 'application/json',
      'content-length': body.length,
    },
  });
  run.leave = () => request.destroy();
  request.end(body);
  const chunks: Buffer[] = [];
  try {
    const [message] = (await once(request, 'response')) as [http.IncomingMessage];
    request.on('error', () => {});
    listen(1);
    let bytes = 0;
    message
      .on('error', () => {})
      .on('data', (data: Buffer) => {
        chunks.push(data);
        bytes += data.length;
        listen(data.length);
        if (leavesAfter !== undefined && bytes >= leavesAfter) request.destroy();
      });
    await new Promise<void>((resolve) => {
      message.once('close', resolve);
    });
    return {
      status: message.statusCode ?? 0,
      header: (name) => [message.headers[name] ?? []].flat()[0] ?? null,
      body: Buffer.concat(chunks),
      isWhole: message.complete,
    };
  } catch {
    return { status: null, header: () => null, body: Buffer.alloc(0), isWhole: false };
  }
}
