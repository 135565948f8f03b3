import { createOpenAI, type OpenAIProvider } from '@ai-sdk/openai';
import { APICallError, embed, generateText, isStepCount, jsonSchema, RetryError, streamText, tool } from 'ai';
import { weatherTool, type Connection, type Sdk } from './sdk.ts';

export function aiProvider({ origin, token, base = '/v1', headers }: Connection): OpenAIProvider {
  return createOpenAI({
    apiKey: token ?? 'none',
    baseURL: origin + base,
    headers: {
      ...headers,
      // The provider leaves out what is undefined, though its type doesn't say so.
      ...(token === null ? { Authorization: undefined as unknown as string } : {}),
    },
  });
}

function toolsWith(run: (city: string) => string) {
  return {
    [weatherTool.name]: tool({
      description: weatherTool.description,
      inputSchema: jsonSchema<{ city: string }>({
        type: 'object',
        properties: { city: { type: 'string' } },
        required: ['city'],
      }),
      execute: async ({ city }: { city: string }) => run(city),
    }),
  };
}

export const aiSdk: Sdk = {
  name: 'ai',
  provider: 'openai',
  base: '/v1',
  model: 'gpt-4o-mini',
  connect(connection) {
    const provider = aiProvider(connection);
    const model = provider.chat(connection.model ?? aiSdk.model);
    const signalOf = (abortSignal: AbortSignal | undefined) =>
      abortSignal === undefined ? {} : { abortSignal };
    return {
      ask: async (prompt, signal) => (await generateText({ model, prompt, ...signalOf(signal) })).text,
      async *stream(prompt, signal) {
        const { fullStream } = streamText({ model, prompt, onError: () => {}, ...signalOf(signal) });
        for await (const part of fullStream) {
          if (part.type === 'error') throw part.error;
          if (part.type === 'abort') throw new DOMException('aborted', 'AbortError');
          if (part.type === 'text-delta') yield part.text;
        }
      },
      async useTool(prompt, run) {
        const answer = await generateText({ model, prompt, tools: toolsWith(run), stopWhen: isStepCount(2) });
        return answer.text;
      },
      async streamTool(prompt) {
        const pieces: string[] = [];
        const { fullStream } = streamText({ model, prompt, tools: toolsWith(() => '') });
        for await (const part of fullStream) if (part.type === 'tool-input-delta') pieces.push(part.delta);
        return pieces;
      },
      async embed(text) {
        return (await embed({ model: provider.embedding('text-embedding-3-small'), value: text })).embedding;
      },
    };
  },
  told(thrown) {
    // After a second request it wraps what the last one met.
    const error = RetryError.isInstance(thrown) ? thrown.lastError : thrown;
    const isOwn = APICallError.isInstance(error);
    const body = isOwn ? (error.data as { error?: { code?: string } } | undefined) : undefined;
    return {
      isOwn,
      status: isOwn ? error.statusCode : undefined,
      message: (error as Error).message,
      code: body?.error?.code ?? null,
      gatewayCode: isOwn ? (error.responseHeaders?.['x-sallyport-code'] ?? null) : null,
    };
  },
};
