import type { Test } from 'tap';
import { scriptUpstream, type Answer, type SeenRequest, type Upstream } from '../support/upstream.ts';

export type Kind =
  | 'openai.chat'
  | 'openai.responses'
  | 'openai.embeddings'
  | 'anthropic.messages'
  | 'google.generate'
  | 'groq.chat'
  | 'xai.chat'
  | 'custom.chat';

/**
 * How a call goes. `whole`: to its end, with counts. `uncounted`: to its end, without. `left`: the client goes in mid-stream; `left-late`: when
 * the counts are there already; `left-early`: while it waits for the answer. `cut`: the provider ends in mid-answer; `cut-late`: behind its
 * counts. `dropped`: no answer. `refused`: an error of the provider's.
 */
export type Fate =
  | 'whole'
  | 'uncounted'
  | 'left'
  | 'left-late'
  | 'left-early'
  | 'cut'
  | 'cut-late'
  | 'dropped'
  | 'refused';

export interface Plan {
  readonly kind: Kind;
  readonly isStream: boolean;
  readonly fate: Fate;
  readonly fresh: number;
  readonly cached: number;
  readonly written: number;
  readonly writtenLong: number;
  readonly output: number;
  readonly status: number;
}

/** What the provider has in its own books about one request. */
export interface Entry {
  readonly id: string;
  readonly plan: Plan;
  /** It told its last counts, in whole. */
  readonly isCounted: boolean;
  readonly isAnswered: boolean;
}

/** Nano-dollars for a token, from the providers' price pages, written here a second time: fresh, cached, written, written for an hour, output. */
const prices: Readonly<Record<Kind, readonly [bigint, bigint, bigint, bigint, bigint] | null>> = {
  'openai.chat': [2500n, 1250n, 0n, 0n, 10_000n],
  'openai.responses': [2000n, 500n, 0n, 0n, 8000n],
  'openai.embeddings': [20n, 0n, 0n, 0n, 0n],
  'anthropic.messages': [3000n, 300n, 3750n, 6000n, 15_000n],
  'google.generate': [300n, 30n, 0n, 0n, 2500n],
  'groq.chat': [590n, 0n, 0n, 0n, 790n],
  // It tells what it charges: as many hundreds of ticks.
  'xai.chat': [0n, 0n, 0n, 0n, 10n],
  'custom.chat': null,
};

export const models: Readonly<Record<Kind, string>> = {
  'openai.chat': 'gpt-4o',
  'openai.responses': 'gpt-4.1',
  'openai.embeddings': 'text-embedding-3-small',
  'anthropic.messages': 'claude-sonnet-4-5',
  'google.generate': 'gemini-2.5-flash',
  'groq.chat': 'llama-3.3-70b-versatile',
  'xai.chat': 'grok-4',
  'custom.chat': 'qwen3:8b',
};

/** In nano-dollars, by the provider's own reckoning; null where it has no price. */
export function billOf({ kind, fresh, cached, written, writtenLong, output }: Plan): bigint | null {
  const price = prices[kind];
  if (price === null) return null;
  const [a, b, c, d, e] = price;
  return (
    BigInt(fresh) * a +
    BigInt(cached) * b +
    BigInt(written) * c +
    BigInt(writtenLong) * d +
    BigInt(output) * e
  );
}

export interface BillingProvider extends Upstream {
  readonly entries: readonly Entry[];
  /** Settles when a request of this plan has come in. */
  arrived(plan: number): Promise<void>;
}

/** All providers at one origin, with their own books. A request says which plan it follows: `plan:17` stands in its text. */
export async function startBillingProvider(t: Test, plans: readonly Plan[]): Promise<BillingProvider> {
  const entries: Entry[] = [];
  const arrivals = plans.map(() => Promise.withResolvers<void>());
  const upstream = await scriptUpstream(t, {
    script: (request, response) => {
      const number = Number(/plan:(\d+)/.exec(request.body.toString())?.[1] ?? -1);
      const plan = plans[number];
      if (plan === undefined) return { status: 404, body: {} };
      const id = `req_${entries.length}`;
      const isAnswered = plan.fate !== 'left-early' && plan.fate !== 'dropped';
      const { answer, isCounted } = answerTo(plan, request);
      entries.push({ id, plan, isCounted, isAnswered });
      arrivals[number]?.resolve();
      if (plan.fate === 'dropped') return void response.socket?.resetAndDestroy();
      return { ...answer, headers: { ...answer.headers, 'x-request-id': id, 'request-id': id } };
    },
  });
  return Object.assign(Object.create(upstream) as Upstream, {
    entries,
    arrived: (plan: number) => (arrivals[plan] as PromiseWithResolvers<void>).promise,
  });
}

interface Told {
  readonly answer: Answer;
  readonly isCounted: boolean;
}

function answerTo(plan: Plan, request: SeenRequest): Told {
  const { fate, isStream } = plan;
  if (fate === 'refused') {
    return {
      answer: { status: plan.status, body: { error: { message: 'no', type: 'x' } } },
      isCounted: false,
    };
  }
  if (fate === 'left-early') return { answer: { hold: request.gone, body: '' }, isCounted: false };
  if (fate === 'dropped') return { answer: {}, isCounted: false };
  if (!isStream) {
    const body = JSON.stringify(wholeBody(plan));
    if (fate !== 'cut') return { answer: json(body), isCounted: fate === 'whole' };
    const half = body.slice(0, Math.floor(body.length / 2));
    return { answer: { ...json(half), contentLength: body.length, ending: 'reset' }, isCounted: false };
  }
  const { before, counts, end } = streamOf(plan);
  const ending = end === '' ? [] : [end];
  switch (fate) {
    case 'whole':
      return { answer: { events: [before, counts, ...ending] }, isCounted: true };
    case 'uncounted':
      return { answer: { events: [before, ...ending] }, isCounted: false };
    case 'left':
      return { answer: { events: [before], ending: 'stall' }, isCounted: false };
    case 'left-late':
      return { answer: { events: [before + counts], ending: 'stall' }, isCounted: true };
    case 'cut-late':
      return { answer: { events: [before + counts], ending: 'reset' }, isCounted: true };
    default:
      return { answer: { events: [before], ending: 'reset' }, isCounted: false };
  }
}

function json(body: string): Answer {
  return { headers: { 'content-type': 'application/json' }, body };
}

function data(value: unknown, name?: string): string {
  return `${name === undefined ? '' : `event: ${name}\n`}data: ${JSON.stringify(value)}\n\n`;
}

/** The counts in the form of the provider whose they are. */
function countsOf(plan: Plan): object {
  const { kind, fresh, cached, written, writtenLong, output } = plan;
  const input = fresh + cached + written + writtenLong;
  switch (kind) {
    case 'anthropic.messages':
      return {
        input_tokens: fresh,
        cache_read_input_tokens: cached,
        cache_creation_input_tokens: written + writtenLong,
        cache_creation: { ephemeral_5m_input_tokens: written, ephemeral_1h_input_tokens: writtenLong },
        output_tokens: output,
        service_tier: 'standard',
      };
    case 'google.generate':
      return {
        promptTokenCount: input,
        cachedContentTokenCount: cached,
        promptTokensDetails: [{ modality: 'TEXT', tokenCount: input }],
        candidatesTokenCount: output - Math.min(output, 7),
        thoughtsTokenCount: Math.min(output, 7),
        totalTokenCount: input + output,
      };
    case 'openai.responses':
      return {
        input_tokens: input,
        input_tokens_details: { cached_tokens: cached },
        output_tokens: output,
        output_tokens_details: { reasoning_tokens: 0 },
        total_tokens: input + output,
      };
    case 'openai.embeddings':
      return { prompt_tokens: input, total_tokens: input };
    default:
      return {
        prompt_tokens: input,
        completion_tokens: output,
        total_tokens: input + output,
        ...(cached === 0 ? {} : { prompt_tokens_details: { cached_tokens: cached } }),
        ...(kind === 'xai.chat' ? { cost_in_usd_ticks: output * 100 } : {}),
      };
  }
}

const text = 'It rained all day, and nobody minded.';

function wholeBody(plan: Plan): object {
  const { kind } = plan;
  const counts = plan.fate === 'uncounted' ? null : countsOf(plan);
  const model = models[kind];
  switch (kind) {
    case 'anthropic.messages':
      return {
        id: 'msg_1',
        type: 'message',
        role: 'assistant',
        model,
        content: [{ type: 'text', text }],
        stop_reason: 'end_turn',
        ...(counts === null ? {} : { usage: counts }),
      };
    case 'google.generate':
      return {
        candidates: [{ content: { parts: [{ text }], role: 'model' }, finishReason: 'STOP' }],
        ...(counts === null ? {} : { usageMetadata: counts }),
        modelVersion: model,
      };
    case 'openai.responses':
      return { id: 'resp_1', object: 'response', status: 'completed', model, output: [], usage: counts };
    case 'openai.embeddings':
      return {
        object: 'list',
        data: [{ object: 'embedding', index: 0, embedding: [0.1] }],
        model,
        usage: counts,
      };
    default:
      return {
        id: 'chatcmpl-1',
        object: 'chat.completion',
        model,
        choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: 'stop' }],
        ...(counts === null ? {} : { usage: counts }),
      };
  }
}

interface Parts {
  readonly before: string;
  readonly counts: string;
  readonly end: string;
}

function streamOf(plan: Plan): Parts {
  const { kind } = plan;
  const model = models[kind];
  const counts = countsOf(plan) as Record<string, unknown>;
  switch (kind) {
    case 'anthropic.messages': {
      const { output_tokens: output, ...input } = counts;
      const known = plan.fate === 'uncounted' ? {} : { usage: { ...input, output_tokens: 1 } };
      const message = { id: 'msg_1', type: 'message', role: 'assistant', content: [], model, ...known };
      const delta = { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } };
      return {
        before:
          data({ type: 'message_start', message }, 'message_start') +
          data(delta, 'content_block_delta').repeat(3),
        counts: data(
          { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: output } },
          'message_delta',
        ),
        end: data({ type: 'message_stop' }, 'message_stop'),
      };
    }
    case 'google.generate': {
      const chunk = (finish: object): object => ({
        candidates: [{ content: { parts: [{ text }], role: 'model' }, ...finish }],
        modelVersion: model,
      });
      return {
        before: data(chunk({})).repeat(3),
        counts: data({ ...chunk({ finishReason: 'STOP' }), usageMetadata: counts }),
        end: plan.fate === 'uncounted' ? data(chunk({ finishReason: 'STOP' })) : '',
      };
    }
    case 'openai.responses': {
      const response = { id: 'resp_1', object: 'response', model, output: [] };
      const done = (usage: object | null): string =>
        data(
          { type: 'response.completed', response: { ...response, status: 'completed', usage } },
          'response.completed',
        );
      return {
        before:
          data(
            { type: 'response.created', response: { ...response, status: 'in_progress' } },
            'response.created',
          ) +
          data({ type: 'response.output_text.delta', delta: text }, 'response.output_text.delta').repeat(3),
        counts: done(counts),
        end: plan.fate === 'uncounted' ? done(null) : '',
      };
    }
    default: {
      const chunk = (more: object): object => ({
        id: 'chatcmpl-1',
        object: 'chat.completion.chunk',
        model,
        choices: [{ index: 0, delta: { content: text }, finish_reason: null }],
        ...more,
      });
      const usage = kind === 'groq.chat' ? { x_groq: { id: 'req', usage: counts } } : { usage: counts };
      return {
        before: data(chunk({})).repeat(3),
        counts: data(chunk({ choices: [], ...usage })),
        end: 'data: [DONE]\n\n',
      };
    }
  }
}
