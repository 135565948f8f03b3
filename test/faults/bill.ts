// The provider's bill against the gateway's books. By hand: node test/faults/bill.ts CALLS [SEED]
import http from 'node:http';
import t, { type Test } from 'tap';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import {
  billOf,
  type BillingProvider,
  type Entry,
  type Fate,
  type Kind,
  models,
  type Plan,
  startBillingProvider,
} from './bill-provider.ts';

const kinds = Object.keys(models) as readonly Kind[];
const streamFates: readonly Fate[] = [
  ...Array<Fate>(6).fill('whole'),
  'uncounted',
  'left',
  'left',
  'left-late',
  'left-early',
  'cut',
  'cut-late',
  'dropped',
  'refused',
];
const wholeFates: readonly Fate[] = [
  ...Array<Fate>(6).fill('whole'),
  'uncounted',
  'left-early',
  'cut',
  'dropped',
  'refused',
];
const refusals = [400, 404, 429, 500, 503, 529];
const workers = 16;

export interface BillReport {
  readonly calls: number;
  readonly attempts: number;
  readonly counted: number;
  readonly estimated: number;
  readonly unknown: number;
  readonly nanoUsd: bigint;
  /** Sentences; none when the books agree. */
  readonly wrongs: readonly string[];
}

/** Makes so many calls of all kinds with random ends, and compares what the gateway has booked with what the providers have. */
export async function runBill(t: Test, calls: number, seed: number): Promise<BillReport> {
  const random = randomFrom(seed);
  const plans = Array.from({ length: calls }, () => planOf(random));
  const provider = await startBillingProvider(t, plans);
  const gateway = await startGateway(t, {
    upstreams: {
      openai: provider.origin,
      anthropic: provider.origin,
      google: provider.origin,
      groq: provider.origin,
      xai: provider.origin,
    },
    settings: { SALLYPORT_ALLOW_ORIGINS: provider.origin, LOG_LEVEL: 'error' },
  });
  for (const [name, value] of [
    ['openai', `sk-${'a'.repeat(40)}`],
    ['anthropic', `sk-ant-${'b'.repeat(40)}`],
    ['google', `AIza${'c'.repeat(35)}`],
    ['groq', `gsk_${'d'.repeat(40)}`],
    ['xai', `xai-${'e'.repeat(40)}`],
  ] as const)
    await gateway.addKey(name, value);
  await gateway.addKey('custom', 'f'.repeat(40), { name: 'local', origins: [provider.origin] });
  const { body } = await gateway.api('POST', '/tokens', {
    name: 'bill',
    requestsPerMinute: 1_000_000,
    concurrentCalls: 1000,
  });

  const agent = new http.Agent({ keepAlive: true, maxSockets: workers * 2 });
  let next = 0;
  await Promise.all(
    Array.from({ length: workers }, async () => {
      for (let at = next++; at < calls; at = next++)
        await makeCall(gateway.origin, body.token as string, agent, plans[at] as Plan, at, provider);
    }),
  );
  agent.destroy();
  await gateway.shipped();
  return compare(gateway, calls, provider.entries);
}

function planOf(random: () => number): Plan {
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  const upTo = (most: number): number => Math.floor(random() * most);
  const kind = pick(kinds);
  const isStream = kind !== 'openai.embeddings' && random() < 0.6;
  const isCaching = kind !== 'openai.embeddings' && kind !== 'groq.chat';
  const isWriting = kind === 'anthropic.messages';
  return {
    kind,
    isStream,
    fate: pick(isStream ? streamFates : wholeFates),
    fresh: 1 + upTo(100_000),
    cached: isCaching ? upTo(50_000) : 0,
    written: isWriting ? upTo(20_000) : 0,
    writtenLong: isWriting ? upTo(20_000) : 0,
    output: kind === 'openai.embeddings' ? 0 : 1 + upTo(8000),
    status: pick(refusals),
  };
}

function requestOf({ kind, isStream }: Plan, number: number): readonly [path: string, body: object] {
  const model = models[kind];
  const content = `plan:${number}`;
  const messages = [{ role: 'user', content }];
  const stream = isStream ? { stream: true } : {};
  switch (kind) {
    case 'openai.responses':
      return ['/v1/responses', { model, input: content, ...stream }];
    case 'openai.embeddings':
      return ['/v1/embeddings', { model, input: content }];
    case 'anthropic.messages':
      return ['/anthropic/v1/messages', { model, max_tokens: 9000, messages, ...stream }];
    case 'google.generate': {
      const verb = isStream ? 'streamGenerateContent?alt=sse' : 'generateContent';
      return [`/google/v1beta/models/${model}:${verb}`, { contents: [{ parts: [{ text: content }] }] }];
    }
    case 'groq.chat':
      return ['/groq/openai/v1/chat/completions', { model, messages, ...stream }];
    case 'custom.chat':
      return ['/custom/local/v1/chat/completions', { model, messages, ...stream }];
    default:
      return ['/v1/chat/completions', { model, messages, ...stream }];
  }
}

/** One call, to whatever end its plan has; settles when the client is done with it. */
async function makeCall(
  origin: string,
  token: string,
  agent: http.Agent,
  plan: Plan,
  number: number,
  provider: BillingProvider,
): Promise<void> {
  const [path, body] = requestOf(plan, number);
  const done = Promise.withResolvers<void>();
  const request = http.request(`${origin}${path}`, {
    method: 'POST',
    agent,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
  });
  request.on('error', () => done.resolve());
  request.on('response', (answer) => {
    answer.on('error', () => done.resolve());
    answer.on('close', () => done.resolve());
    answer.on('data', (chunk: Buffer) => {
      if (plan.fate.startsWith('left') && chunk.includes('It rained')) request.destroy();
    });
  });
  request.end(JSON.stringify(body));
  if (plan.fate === 'left-early') {
    await provider.arrived(number);
    request.destroy();
  }
  await done.promise;
}

interface Row {
  readonly call_id: string;
  readonly final: boolean;
  readonly upstream_request_id: string | null;
  readonly usage_source: string;
  readonly status: number | null;
  readonly input_tokens: bigint | null;
  readonly cached_input_tokens: bigint | null;
  readonly cache_write_input_tokens: bigint | null;
  readonly output_tokens: bigint | null;
  readonly cost_nano_usd: bigint | null;
  readonly price_version: string | null;
}

async function compare(gateway: TestGateway, calls: number, entries: readonly Entry[]): Promise<BillReport> {
  const rows: readonly Row[] = await gateway.installation.store.asSystem((tx) =>
    tx.selectFrom('usage_events').selectAll().where('operation', '!=', 'key.test').execute(),
  );
  const wrongs: string[] = [];
  const byId = new Map(rows.map((row) => [row.upstream_request_id, row]));
  const tally = { counted: 0, estimated: 0, unknown: 0 };
  let bill = 0n;
  for (const entry of entries) {
    if (!entry.isAnswered) continue;
    const row = byId.get(entry.id);
    if (row === undefined) wrongs.push(`${entry.id} was answered and is in no row`);
    else wrongs.push(...compareOne(entry, row));
    if (entry.isCounted) bill += billOf(entry.plan) ?? 0n;
  }
  for (const row of rows) {
    tally[
      row.usage_source === 'provider' ? 'counted' : row.usage_source === 'estimated' ? 'estimated' : 'unknown'
    ] += 1;
    if (row.upstream_request_id !== null) continue;
    // No answer came: nobody knows what it cost.
    if (row.usage_source !== 'unknown' || row.cost_nano_usd !== null)
      wrongs.push(
        `${row.call_id} had no answer, and has ${row.usage_source} usage and a cost of ${row.cost_nano_usd}`,
      );
  }
  if (rows.length !== entries.length)
    wrongs.push(`${rows.length} rows, ${entries.length} requests at the providers`);
  const finals = rows.filter(({ final }) => final).length;
  if (finals !== calls) wrongs.push(`${finals} final rows, ${calls} calls`);
  const counted = sum(rows.filter(({ usage_source }) => usage_source === 'provider'));
  if (counted !== bill) wrongs.push(`the providers ask for ${bill}, and ${counted} is booked`);
  const { body } = await gateway.api('GET', '/usage?groupBy=provider');
  const { totals } = body;
  if (totals.costNanoUsd !== String(sum(rows)))
    wrongs.push(`/api/usage says ${totals.costNanoUsd}, not ${sum(rows)}`);
  if (totals.calls !== calls || totals.attempts !== rows.length)
    wrongs.push(`/api/usage counts ${JSON.stringify(totals)}`);
  return { calls, attempts: rows.length, ...tally, nanoUsd: bill, wrongs };
}

function compareOne({ id, plan, isCounted }: Entry, row: Row): string[] {
  const name = `${id} (${plan.kind}, ${plan.isStream ? 'stream' : 'whole'}, ${plan.fate}, ${row.usage_source})`;
  const wrongs: string[] = [];
  const expect = (what: string, found: unknown, wanted: unknown): void => {
    if (found !== wanted) wrongs.push(`${name}: ${what} ${String(found)}, not ${String(wanted)}`);
  };
  if (isCounted) {
    const written = plan.written + plan.writtenLong;
    expect('source', row.usage_source, 'provider');
    expect('input', row.input_tokens, BigInt(plan.fresh + plan.cached + written));
    expect('cached', row.cached_input_tokens ?? 0n, BigInt(plan.cached));
    expect('written', row.cache_write_input_tokens ?? 0n, BigInt(written));
    expect('output', row.output_tokens, BigInt(plan.output));
    expect('cost', row.cost_nano_usd, billOf(plan));
  } else if (plan.fate === 'refused') {
    expect('source', row.usage_source, 'unknown');
    expect('cost', row.cost_nano_usd, plan.kind === 'custom.chat' ? null : 0n);
  } else if (row.usage_source === 'estimated') {
    expect('an output', (row.output_tokens ?? 0n) > 0n, true);
    expect('a cost', row.cost_nano_usd !== null, plan.kind !== 'custom.chat');
  } else {
    expect('source', row.usage_source, 'unknown');
    for (const count of [row.input_tokens, row.output_tokens, row.cost_nano_usd])
      expect('unknown', count, null);
  }
  if (row.cost_nano_usd !== null) expect('a version', row.price_version !== null, true);
  return wrongs;
}

function sum(rows: readonly Row[]): bigint {
  return rows.reduce((total, row) => total + (row.cost_nano_usd ?? 0n), 0n);
}

/** A small generator (mulberry32), so that a failure can be run again. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

if (import.meta.main) {
  const [calls = 10_000, seed = Date.now() % 1_000_000] = process.argv.slice(2).map(Number);
  void t.test(`${calls} calls, seed ${seed}`, { timeout: 3_600_000 }, async (t) => {
    const report = await runBill(t, calls, seed);
    t.comment({ ...report, wrongs: report.wrongs.length, nanoUsd: String(report.nanoUsd) });
    t.same(report.wrongs.slice(0, 50), []);
  });
}
