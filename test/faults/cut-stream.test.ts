import * as http from 'node:http';
import t from 'tap';
import { recordings } from '../golden/recordings.ts';
import { startGateway } from '../support/gateway.ts';
import { ask, type Answered } from '../support/http-client.ts';
import { scriptUpstream, type Answer, type SeenRequest } from '../support/upstream.ts';

/*
 * A recorded answer is cut by the provider at every one of its bytes, in every way in which a connection can end. Each request says
 * itself what it wants, so that many run at once over one gateway.
 */
type Ending = 'reset' | 'truncate' | 'end';
interface Cut {
  readonly recording: string;
  readonly at: number;
  readonly ending: Ending;
}

t.setTimeout(120_000);

const key = 'sk-test-cut-0123456789abcdef';
const bytesOf = (name: string): Buffer => {
  const found = recordings.find(({ provider, file }) => `${provider}/${file}` === name);
  if (found === undefined) throw new Error(`no recording ${name}`);
  return found.bytes;
};

function respond(request: SeenRequest): Answer {
  const { recording, at, ending } = JSON.parse(request.body.toString()).cut as Cut;
  const bytes = bytesOf(recording);
  if (!recording.endsWith('.sse'))
    return {
      headers: { 'content-type': 'application/json' },
      body: bytes.subarray(0, at),
      contentLength: bytes.length,
      ending,
    };
  return { events: [bytes.subarray(0, at)], ending };
}

const upstream = await scriptUpstream(t, { key, script: respond });
const { origin } = upstream;
const gateway = await startGateway(t, {
  upstreams: { openai: origin, anthropic: origin, google: origin, groq: origin, xai: origin },
  settings: { JOURNAL_SYNC: 'relaxed', LOG_LEVEL: 'warn' },
});
for (const provider of ['openai', 'anthropic', 'google', 'groq', 'xai']) await gateway.addKey(provider, key);
const { body: token } = await gateway.api('POST', '/tokens', {
  name: 'cuts',
  requestsPerMinute: 1_000_000,
  concurrentCalls: 1000,
});
const agent = new http.Agent({ keepAlive: true });
t.teardown(() => agent.destroy());

let calls = 0;
function send(path: string, model: string, cut: Cut, more: object = {}): Promise<Answered> {
  calls += 1;
  return ask(gateway.origin + path, {
    agent,
    headers: { authorization: `Bearer ${token.token}` },
    body: { model, stream: true, ...more, cut },
  });
}

/** Runs the work for every item, some at a time. */
async function each<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const rest = items.values();
  await Promise.all(
    Array.from({ length: 24 }, async () => {
      for (const item of rest) await work(item);
    }),
  );
}

/** Where the last line that says something ends: what comes behind is blank. */
const meantEnd = (bytes: Buffer): number => bytes.toString('latin1').trimEnd().length;
const asks = { stream_options: { include_usage: true } };

interface Sample {
  readonly recording: string;
  readonly path: string;
  readonly model: string;
  readonly more?: object;
  /** Of the dialect: what is written where the answer broke. */
  readonly error: RegExp;
  readonly step: number;
  readonly isThrice?: boolean;
  /** An event that is not whole is held back here, so fewer bytes come through. */
  readonly isHeld?: boolean;
}

const openaiError =
  /^\n\ndata: \{"error":\{"message":"[^"]+","type":"api_error","param":null,"code":"UPSTREAM_STREAM_BROKEN"\}\}\n\n$/;
const anthropicError =
  /^\n\nevent: error\ndata: \{"type":"error","error":\{"type":"api_error","message":"UPSTREAM_STREAM_BROKEN: [^"]+"\},"request_id":"call_[0-9a-f]{32}"\}\n\n$/;
const googleError =
  /^\n\ndata: \{"error":\{"code":502,"message":"UPSTREAM_STREAM_BROKEN: [^"]+","status":"INTERNAL"\}\}\n\n$/;
const all: readonly Ending[] = ['reset', 'truncate', 'end'];

const samples: readonly Sample[] = [
  {
    recording: 'openai/chat-stream-no-usage.sse',
    path: '/openai/v1/chat/completions',
    model: 'gpt-4o',
    more: asks,
    error: openaiError,
    step: 1,
    isThrice: true,
  },
  {
    recording: 'anthropic/messages-stream.sse',
    path: '/anthropic/v1/messages',
    model: 'claude-x',
    error: anthropicError,
    step: 1,
  },
  {
    recording: 'openai/chat-stream.sse',
    path: '/v1/chat/completions',
    model: 'openai/gpt-4o',
    error: openaiError,
    step: 7,
    isHeld: true,
  },
  {
    recording: 'openai/responses-stream.sse',
    path: '/v1/responses',
    model: 'gpt-4o',
    error: openaiError,
    step: 7,
  },
  {
    recording: 'google/stream.sse',
    path: '/google/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse',
    model: 'x',
    error: googleError,
    step: 7,
  },
  {
    recording: 'groq/chat-stream.sse',
    path: '/groq/openai/v1/chat/completions',
    model: 'x',
    error: openaiError,
    step: 7,
  },
  {
    recording: 'xai/chat-stream.sse',
    path: '/v1/chat/completions',
    model: 'grok-4',
    more: asks,
    error: openaiError,
    step: 7,
  },
];

/** The last bytes decide whether an answer looks whole: there every byte is cut. */
const tailBytes = 24;

/** Every `step`th byte and each of the last, in one of the three ways by turns, or in all three. */
function cutsOf({ recording, step, isThrice }: Sample): Cut[] {
  const bytes = bytesOf(recording);
  const cuts: Cut[] = [];
  for (let at = 0; at <= bytes.length; at += at < bytes.length - tailBytes ? step : 1) {
    for (const [turn, ending] of all.entries()) {
      const isNow =
        isThrice === true ||
        (step > 1 && at >= bytes.length - tailBytes) ||
        Math.floor(at / step) % 3 === turn;
      // What ends properly behind the last meaningful byte is whole.
      if (isNow && (ending !== 'end' || at < meantEnd(bytes))) cuts.push({ recording, at, ending });
    }
  }
  return cuts;
}

for (const sample of samples) {
  const { recording, path, model, more, error, isHeld } = sample;
  t.test(`${recording} on ${path} never looks whole, wherever and however it is cut`, async (t) => {
    const cuts = cutsOf(sample);
    const faults: string[] = [];
    await each(cuts, async (cut) => {
      const answer = await send(path, model, cut, more);
      const sent = bytesOf(recording).subarray(0, cut.at);
      const fault = faultOf(answer, sent, { error, ending: cut.ending, isHeld: isHeld === true });
      if (fault !== null) faults.push(`${cut.ending} at ${cut.at}: ${fault}`);
    });
    t.same(faults.slice(0, 5), [], `${cuts.length} cuts`);
  });
}

function faultOf(
  { status, body, isWhole }: Answered,
  sent: Buffer,
  { error, ending, isHeld }: { error: RegExp; ending: Ending; isHeld: boolean },
): string | null {
  // A reset may overtake the head: then the client has a refusal, and nothing of the answer.
  if (status !== 200)
    return ending === 'reset' && status === 502 ? null : `status ${status}: ${body.toString()}`;
  if (isWhole) return 'it ended properly';
  // Of whole events those come through that are not about usage alone.
  const told = isHeld
    ? Buffer.from(sent.toString().replace(/data: \{[^\n]*"choices":\[\],[^\n]*\n\n/, ''))
    : sent;
  let common = 0;
  while (common < body.length && body[common] === told[common]) common += 1;
  // A part of the separator may be taken for the answer's own line end.
  for (let at = common; at >= Math.max(0, common - 2); at -= 1) {
    if (!error.test(body.subarray(at).toString())) continue;
    if (ending === 'reset' || isHeld || at === sent.length) return null;
    return `only ${at} of ${sent.length} bytes came through`;
  }
  return `no error event: ${body.subarray(-300).toString()}`;
}

t.test('an answer that ends properly behind its last word is whole', async (t) => {
  for (const { recording, path, model, more, isHeld } of samples) {
    if (isHeld === true) continue;
    const bytes = bytesOf(recording);
    for (let at = meantEnd(bytes); at <= bytes.length; at += 1) {
      const answer = await send(path, model, { recording, at, ending: 'end' }, more);
      t.ok(answer.isWhole, `${recording} at ${at}`);
      t.equal(answer.body.toString(), bytes.subarray(0, at).toString());
    }
  }
});

t.test(
  'a whole answer without event framing is destroyed where it was cut, with nothing added',
  async (t) => {
    for (const [recording, path] of [
      ['openai/chat.json', '/v1/chat/completions'],
      ['google/stream-array.json', '/google/v1beta/models/gemini-2.5-flash:streamGenerateContent'],
    ] as const) {
      const bytes = bytesOf(recording);
      const cuts = Array.from({ length: Math.floor(bytes.length / 11) }, (_, n) => n * 11);
      const faults: string[] = [];
      await each(cuts, async (at) => {
        const answer = await send(path, 'gpt-4o', { recording, at, ending: 'truncate' }, { stream: false });
        if (answer.status !== 200 || answer.isWhole || !answer.body.equals(bytes.subarray(0, at)))
          faults.push(`at ${at}: ${answer.status} ${answer.isWhole}`);
      });
      t.same(faults.slice(0, 5), [], recording);
    }
  },
);

t.test(
  'each of these calls has one end, none is told as whole that was cut, and no key was opened without a begin',
  async (t) => {
    await gateway.shipped();
    const count = async (event: string): Promise<number> => {
      const row = await gateway.database.store.asSystem((tx) =>
        tx
          .selectFrom('journal')
          .select((eb) => eb.fn.countAll<bigint>().as('n'))
          .where('event', '=', event)
          .executeTakeFirstOrThrow(),
      );
      return Number(row.n);
    };
    const begins = await count('use.begin');
    t.equal(await count('use.end'), begins);
    t.ok(begins >= calls, 'stale sockets add attempts');
    t.ok(upstream.requests.length <= begins);
    const told = await gateway.database.store.asSystem((tx) =>
      tx.selectFrom('usage_events').select(['outcome', 'end_reason']).distinct().execute(),
    );
    const kinds = new Set(told.map(({ outcome, end_reason }) => `${outcome} ${end_reason}`));
    // Where a reset overtook the head.
    kinds.delete('UPSTREAM_ERROR upstream_broken');
    t.same(
      [...kinds].toSorted((a, b) => a.localeCompare(b)),
      ['ok complete', 'UPSTREAM_STREAM_BROKEN upstream_broken'],
    );
  },
);
