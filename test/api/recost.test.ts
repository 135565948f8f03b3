import t from 'tap';
import { newId } from '../../src/ids.ts';
import { priceTable } from '../../src/providers/price-table.ts';
import { newKey, startWorld } from './world.ts';

const world = await startWorld(t);
const { call } = world;
const owner = world.first.adminToken;
const me = await world.callerOf(owner);
const other = await world.newWorkspace('other');
const stranger = await world.callerOf(other.adminToken);
const start = '2026-03-01T10:00:00.000Z';
const period = 'from=2026-03-01&to=2026-03-02';
const keyBody = {
  name: 'mine',
  provider: 'custom',
  value: newKey(),
  origins: ['https://models.example.com'],
  force: true,
};
const custom = (await call(owner, 'POST', '/api/api-keys', keyBody)).json.id;

interface Use {
  readonly workspaceId?: string;
  readonly provider?: string;
  readonly origin?: string;
  readonly keyId?: string | null;
  readonly model?: string;
  readonly cost: string | null;
  readonly usage?: Readonly<Record<string, number | null>> | null;
  readonly status?: number | null;
  readonly outcome?: string;
  readonly operation?: string;
  readonly billed?: Readonly<Record<string, number>>;
  readonly at?: string;
  readonly hasNoRecord?: boolean;
}

async function use(input: Use): Promise<string> {
  const callId = newId('call');
  const usage =
    input.usage === undefined
      ? {
          inputTokens: 1_000,
          cachedInputTokens: 0,
          cacheWriteInputTokens: 0,
          outputTokens: 100,
          reasoningTokens: null,
        }
      : input.usage;
  const identity = {
    callId,
    attempt: 1,
    workspaceId: input.workspaceId ?? me.workspaceId,
    tokenId: null,
    userId: me.userId,
    keyId: input.keyId ?? null,
    keyVersion: 1,
    keySource: 'own',
    provider: input.provider ?? 'openai',
    operation: input.operation ?? 'openai.chat',
    model: 'alias-of-it',
    upstreamModel: input.model ?? 'gpt-4o',
    isStream: false,
    startedAt: input.at ?? start,
  };
  const begin = await world.journal.append('use.begin', {
    ...identity,
    origin: input.origin ?? 'https://api.openai.com',
  });
  await world.journal.append('use.end', {
    ...identity,
    final: true,
    beginSeq: begin.seq,
    beginStream: begin.stream,
    receipt: begin.text,
    endedAt: input.at ?? start,
    outcome: input.outcome ?? (input.status === undefined ? 'ok' : 'UPSTREAM_REJECTED'),
    status: input.status === undefined ? 200 : input.status,
    endReason: 'complete',
    upstreamRequestId: null,
    firstByteMs: 1,
    totalMs: 1,
    requestBytes: 1,
    responseBytes: 1,
    usage,
    usageSource: usage === null ? 'unknown' : 'provider',
    providerUsage: null,
    billed: input.billed ?? null,
    costNanoUsd: input.cost,
    priceVersion: input.cost === null ? null : 'old-table',
  });
  return callId;
}

// gpt-4o: 2.5 dollars for a million in, 10 out (the table's own entry).
const fresh = 1_000n * 2_500n + 100n * 10_000n;
const recorded = await use({ cost: '7' });
await use({ cost: null });
await use({ cost: '0', usage: null, status: 429 });
await use({ cost: '5', model: 'nobody-has-heard-of-it' });
const ofCustom = await use({
  cost: null,
  provider: 'custom',
  keyId: custom,
  origin: 'https://models.example.com',
  model: 'llama',
});
const theirs = await use({ cost: '9', workspaceId: stranger.workspaceId });
for (let i = 0; i < 600; i += 1) await use({ cost: '1', usage: null });
await world.shipper.flush();

type Run = Readonly<Record<string, any>>;
async function recost(body: Readonly<Record<string, unknown>> = {}): Promise<Run[]> {
  const runs: Run[] = [];
  let cursor: string | null = null;
  do {
    const { status, json }: { status: number; json: Run } = await call(owner, 'POST', '/api/usage/recost', {
      from: '2026-03-01',
      to: '2026-03-02',
      ...body,
      ...(cursor === null ? {} : { cursor }),
    });
    if (status !== 200) throw new Error(JSON.stringify(json));
    runs.push(json);
    cursor = json['cursor'];
  } while (cursor !== null);
  return runs;
}
const rows = () =>
  world.store.asSystem((tx) =>
    tx.selectFrom('usage_costs').selectAll().orderBy('computed_at').orderBy('call_id').execute(),
  );
const total = (runs: readonly Run[], name: string): bigint =>
  runs.reduce((sum, run) => sum + BigInt(run[name]), 0n);
const usage = async (more = '', token = owner) =>
  (await call(token, 'GET', `/api/usage?${period}${more}`)).json;

t.test('costs are reckoned anew beside the recorded ones, which stay', async (t) => {
  const before = await usage();
  const dry = await recost({ dryRun: true });
  t.same(await rows(), []);
  const runs = await recost();
  t.same(
    runs.map((run) => ({ ...run, cursor: null })),
    dry.map((run) => ({ ...run, cursor: null })),
  );
  t.ok(runs.length >= 2, 'page by page');
  t.equal(total(runs, 'looked'), 606n);
  t.equal(total(runs, 'priced'), 3n);
  t.equal(total(runs, 'newlyPriced'), 1n);
  t.equal(total(runs, 'differenceNanoUsd'), 2n * fresh - 16n);
  t.same(new Set(runs.flatMap((run) => run['versions'])), new Set([priceTable.version]));
  t.same(await usage(), before, 'recorded ones are what is shown unless told');

  const latest = await usage('&prices=latest');
  t.equal(latest.totals.costNanoUsd, String(2n * fresh + 5n + 600n));
  t.equal(latest.totals.unknownCostCalls, 1, 'the custom provider’s');
  t.equal(latest.totals.calls, before.totals.calls);
  t.same(
    latest.versions.find((one: Run) => one['version'] === priceTable.version),
    {
      version: priceTable.version,
      attempts: 2,
      costNanoUsd: String(2n * fresh),
      recordedNanoUsd: '7',
      differenceNanoUsd: String(2n * fresh - 7n),
    },
  );
  const sum = (name: string) =>
    latest.versions.reduce((all: bigint, one: Run) => all + BigInt(one[name] ?? 0), 0n);
  t.equal(String(sum('costNanoUsd')), latest.totals.costNanoUsd);
  t.equal(String(sum('recordedNanoUsd')), before.totals.costNanoUsd);
  const [attempt] = (await call(owner, 'GET', `/api/usage/calls/${recorded}`)).json.attempts;
  t.match(attempt, { costNanoUsd: '7', priceVersion: 'old-table' });
});

t.test('what the client was told does not change what the provider was asked for', async (t) => {
  const at = '2026-02-01T10:00:00.000Z';
  const spoken = {
    at,
    operation: 'openai.speech',
    model: 'tts-1',
    usage: null,
    billed: { characters: 1_000 },
  };
  // Its client had left before the answer began, which was read on.
  const drained = await use({ at, cost: '7', status: 499, outcome: 'CLIENT_CLOSED' });
  const whole = await use({ ...spoken, cost: '7' });
  // Counted of the request, of which nothing was answered: refused before another attempt, and given up.
  const refused = { ...spoken, cost: '0', status: null, outcome: 'UPSTREAM_RATE_LIMITED' };
  await use(refused);
  await use({ ...spoken, cost: null, status: 499, outcome: 'CLIENT_CLOSED' });
  await use({ ...spoken, cost: null, status: 504, outcome: 'UPSTREAM_TIMEOUT' });
  await world.shipper.flush();
  await recost({ from: '2026-02-01', to: '2026-02-02' });
  const made = (await rows()).filter((row) => row.started_at.toISOString() === at);
  t.same(
    new Map(made.map((row) => [row.call_id, row.cost_nano_usd])),
    new Map([
      [drained, fresh],
      [whole, 15_000_000n],
    ]),
  );
});

t.test('the same prices make no second version, and own prices make another', async (t) => {
  const before = await rows();
  await recost();
  t.same(await rows(), before);
  const price = {
    provider: 'mine',
    model: '*',
    prices: { input: '1', output: '2' },
    effectiveFrom: '2026-01-01T00:00:00Z',
  };
  t.equal((await call(owner, 'POST', '/api/prices', price)).status, 201);
  const runs = await recost();
  t.equal(total(runs, 'newlyPriced'), 2n);
  const made = (await rows()).filter((row) => row.call_id === ofCustom);
  t.match(made, [
    {
      cost_nano_usd: 1_000n * 1_000n + 100n * 2_000n,
      price_version: /^price_/,
      version: /\+own-[0-9a-f]{8}$/,
    },
  ]);
  t.same(
    (await rows()).filter((row) => row.version === priceTable.version),
    before,
    'what was there stays as it was',
  );
  t.equal((await usage('&prices=latest')).totals.unknownCostCalls, 0);
  const [own] = (await call(owner, 'GET', '/api/prices')).json.data;
  await call(owner, 'DELETE', `/api/prices/${own.id}`);
  const known = (await rows()).length;
  await recost();
  const again = (await rows()).slice(known);
  t.same(
    again.map(({ cost_nano_usd }) => cost_nano_usd),
    [fresh, fresh],
    'back to the former prices',
  );
  t.ok(again.every(({ version }) => version.startsWith(`${priceTable.version}@`)));
  await recost();
  t.equal((await rows()).length, known + 2);
  t.equal((await call(owner, 'POST', '/api/prices', price)).status, 201);
});

t.test('a price that was written round the gateway prices nothing', async (t) => {
  await world.tamper(
    'price_overrides',
    `update price_overrides set prices = '{"input":"999999","output":"999999"}'`,
  );
  const before = (await rows()).length;
  await recost();
  t.equal((await rows()).length, before);
});

t.test('a workspace sees its own costs alone, and nobody but the operator reckons', async (t) => {
  const latest = await usage('&prices=latest', other.adminToken);
  t.equal(latest.totals.calls, 1);
  t.equal(latest.totals.costNanoUsd, String(fresh));
  t.equal((await rows()).filter((row) => row.call_id === theirs).length, 1);
  t.equal((await call(other.adminToken, 'POST', '/api/usage/recost', { from: '2026-03-01' })).status, 403);
  for (const body of [
    {},
    { from: 'x' },
    { from: '2026-03-02', to: '2026-03-01' },
    { from: '2026-03-01', cursor: 'W10' },
  ])
    t.equal((await call(owner, 'POST', '/api/usage/recost', body)).status, 400, JSON.stringify(body));
  t.same(world.faults, []);
});
