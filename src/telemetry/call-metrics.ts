import type { Registry } from 'prom-client';
import { errorTable } from '../errors.ts';
import { type Cell, createHistogram, createTally } from './tally.ts';
import { modelLabel } from './model-label.ts';
import { operationName } from './operation-name.ts';

/** Counts as WIRE.md has them; null where the provider told nothing. */
interface Usage {
  readonly inputTokens: number | null;
  readonly cachedInputTokens: number | null;
  readonly cacheWriteInputTokens: number | null;
  readonly outputTokens: number | null;
  readonly reasoningTokens: number | null;
}

export interface EndedCall {
  readonly provider: string;
  /** `openai.chat`, as the provider's file names it. */
  readonly operation: string;
  readonly outcome: string;
  /** As the provider was asked for it, or null where the call has none. */
  readonly model: string | null;
  /** The price table's name for it, if it has one: for models that are newer than our own list. */
  readonly listedModel?: string | null;
  readonly seconds: number;
  /** From the request on. */
  readonly firstChunkSeconds: number | null;
  /** What the gateway itself took, or null where nothing went upstream. */
  readonly overheadSeconds: number | null;
  readonly usage: Usage | null;
  /** The operation is metered, but what it used is not known. */
  readonly isUsageUnknown: boolean;
  readonly costNanoUsd: string | null;
}

/** Buckets of OpenTelemetry's semantic conventions for generative AI (gen_ai.client.token.usage, .operation.duration, v1.37). */
const tokenBounds = [
  1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864,
];
const durationBounds = [
  0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
const firstChunkBounds = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
];
/** Up to what a reasoning model may think before it says something. */
const upstreamBounds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];
const overheadBounds = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1];

/**
 * Rows of one provider with a model in them. Whoever has a key to an origin of his own can succeed with every name that is known; so he
 * fills up the rows of `custom`, and no others.
 */
const maxModelRows = 64;

const genAiLabels = ['gen_ai_provider_name', 'gen_ai_operation_name', 'gen_ai_request_model'] as const;

const outcomes: ReadonlySet<string> = new Set(['ok', 'crash', ...Object.keys(errorTable)]);
export const knownProviders: ReadonlySet<string> = new Set([
  'openai',
  'anthropic',
  'google',
  'groq',
  'xai',
  'custom',
]);

/** A custom provider's name is its owner's text, hence no label. */
export function providerLabel(provider: string): string {
  return knownProviders.has(provider) ? provider : 'custom';
}

/** The metrics of a call's way. Label values come from closed sets whatever is handed in; never throws. */
export function createCallMetrics(registry: Registry) {
  const tokenUsage = createHistogram(registry, {
    name: 'gen_ai_client_token_usage',
    help: 'Tokens a call used, by input and output',
    labels: [...genAiLabels, 'gen_ai_token_type'] as const,
    bounds: tokenBounds,
  });
  const duration = createHistogram(registry, {
    name: 'gen_ai_client_operation_duration_seconds',
    help: 'From the request to the last byte of its answer',
    labels: genAiLabels,
    bounds: durationBounds,
  });
  const firstChunk = createHistogram(registry, {
    name: 'gen_ai_client_operation_time_to_first_chunk_seconds',
    help: 'From the request to the first byte of its answer',
    labels: genAiLabels,
    bounds: firstChunkBounds,
  });
  const overhead = createHistogram(registry, {
    name: 'sallyport_gateway_overhead_seconds',
    help: 'What the gateway itself added to a call',
    labels: [],
    bounds: overheadBounds,
  }).spread();
  const calls = createTally(registry, {
    type: 'counter',
    name: 'sallyport_calls_total',
    help: 'Calls that ended',
    labels: ['provider', 'operation', 'outcome'],
  });
  const refused = createTally(registry, {
    type: 'counter',
    name: 'sallyport_requests_refused_total',
    help: 'Requests refused before a key was used',
    labels: ['code'],
  });
  const faults = createTally(registry, {
    type: 'counter',
    name: 'sallyport_faults_total',
    help: 'Requests and calls on which the gateway itself failed',
    labels: [],
  }).cell();
  const inFlight = createTally(registry, {
    type: 'gauge',
    name: 'sallyport_calls_in_flight',
    help: 'Calls under way',
    labels: ['provider'],
  });
  const tokens = createTally(registry, {
    type: 'counter',
    name: 'sallyport_tokens_total',
    help: 'Tokens used; cached_input and cache_write_input are parts of input, reasoning of output',
    labels: ['provider', 'model', 'type'],
  });
  const cost = createTally(registry, {
    type: 'counter',
    name: 'sallyport_cost_nano_usd_total',
    help: 'Cost of calls with a known price, in 1e-9 US dollars',
    labels: ['provider', 'model'],
  });
  const unknown = createTally(registry, {
    type: 'counter',
    name: 'sallyport_usage_unknown_total',
    help: 'Metered calls whose usage the provider did not tell',
    labels: ['provider'],
  });
  const unpriced = createTally(registry, {
    type: 'counter',
    name: 'sallyport_cost_unknown_total',
    help: 'Calls that used tokens and whose cost is not known',
    labels: ['provider'],
  });
  const upstream = createHistogram(registry, {
    name: 'sallyport_upstream_seconds',
    help: 'From an attempt’s beginning to the last byte of its answer',
    labels: ['provider'],
    bounds: upstreamBounds,
  });
  const upstreamFirstByte = createHistogram(registry, {
    name: 'sallyport_upstream_first_byte_seconds',
    help: 'From an attempt’s beginning to the head of its answer',
    labels: ['provider'],
    bounds: upstreamBounds,
  });

  function modelCells(provider: string, operation: string, model: string) {
    const genAi = [provider, operationName(operation), model] as const;
    return {
      duration: duration.spread(...genAi),
      firstChunk: firstChunk.spread(...genAi),
      inputUsage: tokenUsage.spread(...genAi, 'input'),
      outputUsage: tokenUsage.spread(...genAi, 'output'),
      input: tokens.cell(provider, model, 'input'),
      cachedInput: tokens.cell(provider, model, 'cached_input'),
      cacheWriteInput: tokens.cell(provider, model, 'cache_write_input'),
      output: tokens.cell(provider, model, 'output'),
      reasoning: tokens.cell(provider, model, 'reasoning'),
      cost: cost.cell(provider, model),
    };
  }

  interface OperationRow {
    readonly outcomes: Map<string, Cell>;
    readonly models: Map<string, ReturnType<typeof modelCells>>;
  }
  // Nested, because one joined key a call would cost more than the counting. All of a call costs 0.25 µs here, an
  // attempt's 0.02 (bench/metrics.ts).
  const rows = new Map<string, ReturnType<typeof providerRow>>();
  const providerRow = (provider: string) => ({
    inFlight: inFlight.cell(provider),
    upstream: upstream.spread(provider),
    firstByte: upstreamFirstByte.spread(provider),
    operations: new Map<string, OperationRow>(),
    modelRows: 0,
  });
  const rowOf = (name: string) => {
    const provider = providerLabel(name);
    return rows.getOrInsertComputed(provider, providerRow);
  };
  const operations = new Set<string>();
  const maxOperations = 80;

  /** Operations come from our own provider files; the bound is for the day when one hands through a path. */
  function operationLabel(operation: string): string {
    if (operations.has(operation)) return operation;
    if (operations.size >= maxOperations || !/^[a-z]{1,16}\.[A-Za-z._-]{1,40}$/.test(operation))
      return 'other';
    operations.add(operation);
    return operation;
  }

  return Object.freeze({
    callStarted(provider: string) {
      rowOf(provider).inFlight.value += 1;
    },

    /** Before any attempt: those that come later are outcomes of calls. @param code of the error table */
    refused(code: string) {
      const name = outcomes.has(code) ? code : 'INTERNAL';
      refused.cell(name).value += 1;
      if (name === 'INTERNAL') faults.value += 1;
    },

    /** One attempt is over, whatever it led to. Seconds from its own beginning on. */
    attemptEnded(provider: string, seconds: number, firstByteSeconds: number | null) {
      const row = rowOf(provider);
      row.upstream.observe(seconds);
      if (firstByteSeconds !== null) row.firstByte.observe(firstByteSeconds);
    },

    /** A call goes on at another provider. */
    callMoved(from: string, to: string) {
      if (from === to) return;
      rowOf(from).inFlight.value -= 1;
      rowOf(to).inFlight.value += 1;
    },

    callEnded(call: EndedCall) {
      const provider = providerLabel(call.provider);
      const operation = operationLabel(call.operation);
      const outcome = outcomes.has(call.outcome) ? call.outcome : 'INTERNAL';
      if (outcome === 'INTERNAL') faults.value += 1;
      const providersRow = rowOf(call.provider);
      providersRow.inFlight.value -= 1;

      const row = providersRow.operations.getOrInsertComputed(operation, newRow);
      row.outcomes.getOrInsertComputed(outcome, () => calls.cell(provider, operation, outcome)).value += 1;
      let model = modelLabel(call.model);
      if (model === 'other') model = call.listedModel ?? 'other';
      let cells = row.models.get(model);
      if (cells === undefined) {
        // A name in a request that failed says nothing: it makes no row.
        if (call.outcome !== 'ok' || providersRow.modelRows >= maxModelRows) model = 'other';
        if (model !== 'other') providersRow.modelRows += 1;
        cells = row.models.getOrInsertComputed(model, () => modelCells(provider, operation, model));
      }
      cells.duration.observe(call.seconds);
      if (call.firstChunkSeconds !== null) cells.firstChunk.observe(call.firstChunkSeconds);
      if (call.overheadSeconds !== null) overhead.observe(call.overheadSeconds);
      if (call.usage !== null && call.costNanoUsd === null) unpriced.cell(provider).value += 1;
      if (call.isUsageUnknown) unknown.cell(provider).value += 1;
      if (call.usage !== null) {
        const { usage } = call;
        if (usage.inputTokens !== null) cells.inputUsage.observe(usage.inputTokens);
        if (usage.outputTokens !== null) cells.outputUsage.observe(usage.outputTokens);
        cells.input.value += count(usage.inputTokens);
        cells.cachedInput.value += count(usage.cachedInputTokens);
        cells.cacheWriteInput.value += count(usage.cacheWriteInputTokens);
        cells.output.value += count(usage.outputTokens);
        cells.reasoning.value += count(usage.reasoningTokens);
      }
      if (call.costNanoUsd !== null) cells.cost.value += count(Number(call.costNanoUsd));
    },
  });
}

function newRow() {
  return { outcomes: new Map(), models: new Map() };
}

/** A counter must never go down or become NaN, whatever a provider wrote. */
function count(value: number | null): number {
  return value !== null && value >= 0 && value < Infinity ? value : 0;
}
