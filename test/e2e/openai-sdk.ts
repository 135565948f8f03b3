import OpenAI from 'openai';
import { cityOf, weatherTool, type Connection, type Sdk } from './sdk.ts';

export function openaiClient({ origin, token, base = '/v1', headers }: Connection): OpenAI {
  return new OpenAI({
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

export const openaiSdk: Sdk = {
  name: 'openai',
  provider: 'openai',
  base: '/v1',
  model: 'gpt-4o-mini',
  connect(connection) {
    const client = openaiClient(connection);
    const { model = openaiSdk.model } = connection;
    const user = (content: string) => ({ role: 'user' as const, content });
    return {
      async ask(prompt, signal) {
        const answer = await client.chat.completions.create({ model, messages: [user(prompt)] }, { signal });
        return answer.choices[0]?.message.content ?? '';
      },
      async *stream(prompt, signal) {
        const chunks = await client.chat.completions.create(
          { model, messages: [user(prompt)], stream: true },
          { signal },
        );
        for await (const chunk of chunks) yield chunk.choices[0]?.delta.content ?? '';
      },
      async useTool(prompt, run) {
        const first = await client.chat.completions.create({ model, messages: [user(prompt)], tools });
        const message = first.choices[0]!.message;
        const results = message.tool_calls!.map((call) => ({
          role: 'tool' as const,
          tool_call_id: call.id,
          content: run(cityOf((call as { function: { arguments: string } }).function.arguments)),
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
        const answer = await client.embeddings.create({ model: 'text-embedding-3-small', input: text });
        return answer.data[0]!.embedding;
      },
      async models() {
        const names: string[] = [];
        for await (const model of client.models.list()) names.push(model.id);
        return names;
      },
    };
  },
  told(error) {
    const isOwn = error instanceof OpenAI.APIError;
    return {
      isOwn,
      status: isOwn ? error.status : undefined,
      message: (error as Error).message,
      code: isOwn ? (error.code ?? null) : null,
      gatewayCode: isOwn ? (error.headers?.get('x-sallyport-code') ?? null) : null,
    };
  },
};
