import Groq from 'groq-sdk';
import { cityOf, weatherTool, type Connection, type Sdk } from './sdk.ts';

export function groqClient({ origin, token, base = '/groq', headers }: Connection): Groq {
  return new Groq({
    apiKey: token ?? 'none',
    baseURL: origin + base,
    defaultHeaders: { ...headers, ...(token === null ? { Authorization: null } : {}) },
  });
}

const tools = [
  {
    type: 'function' as const,
    function: {
      name: weatherTool.name,
      description: weatherTool.description,
      parameters: { ...weatherTool.schema },
    },
  },
];

export const groqSdk: Sdk = {
  name: 'groq-sdk',
  provider: 'groq',
  base: '/groq',
  model: 'llama-3.3-70b-versatile',
  connect(connection) {
    const client = groqClient(connection);
    const { model = groqSdk.model } = connection;
    const user = (content: string) => ({ role: 'user' as const, content });
    const optionsOf = (signal: AbortSignal | undefined) => (signal === undefined ? {} : { signal });
    return {
      async ask(prompt, signal) {
        const answer = await client.chat.completions.create(
          { model, messages: [user(prompt)] },
          optionsOf(signal),
        );
        return answer.choices[0]?.message.content ?? '';
      },
      async *stream(prompt, signal) {
        const chunks = await client.chat.completions.create(
          { model, messages: [user(prompt)], stream: true },
          optionsOf(signal),
        );
        for await (const chunk of chunks) yield chunk.choices[0]?.delta.content ?? '';
      },
      async useTool(prompt, run) {
        const first = await client.chat.completions.create({ model, messages: [user(prompt)], tools });
        const message = first.choices[0]!.message;
        const results = message.tool_calls!.map((call) => ({
          role: 'tool' as const,
          tool_call_id: call.id,
          content: run(cityOf(call.function.arguments)),
        }));
        const messages = [user(prompt), message, ...results];
        const second = await client.chat.completions.create({ model, messages, tools });
        return second.choices[0]?.message.content ?? '';
      },
      async streamTool(prompt) {
        const stream = await client.chat.completions.create({
          model,
          messages: [user(prompt)],
          tools,
          stream: true,
        });
        const pieces: string[] = [];
        for await (const chunk of stream) {
          for (const call of chunk.choices[0]?.delta.tool_calls ?? [])
            pieces.push(call.function?.arguments ?? '');
        }
        return pieces;
      },
      async embed(text) {
        const answer = await client.embeddings.create({ model: 'nomic-embed-text-v1_5', input: text });
        return answer.data[0]!.embedding as number[];
      },
      async models() {
        return (await client.models.list()).data.map((model) => model.id);
      },
    };
  },
  told(error) {
    const isOwn = error instanceof Groq.APIError;
    const body = isOwn ? (error.error as { error?: { code?: string } } | undefined) : undefined;
    return {
      isOwn,
      status: isOwn ? error.status : undefined,
      message: (error as Error).message,
      code: body?.error?.code ?? null,
      gatewayCode: isOwn ? (error.headers?.get('x-sallyport-code') ?? null) : null,
    };
  },
};
