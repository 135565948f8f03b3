import Anthropic from '@anthropic-ai/sdk';
import { cityOf, weatherTool, type Connection, type Sdk } from './sdk.ts';

export function anthropicClient({ origin, token, base = '/anthropic', headers }: Connection): Anthropic {
  return new Anthropic({
    apiKey: token,
    authToken: null,
    baseURL: origin + base,
    defaultHeaders: { ...headers, ...(token === null ? { 'X-Api-Key': null, Authorization: null } : {}) },
  });
}

const tools: Anthropic.Tool[] = [
  {
    name: weatherTool.name,
    description: weatherTool.description,
    input_schema: { type: 'object', properties: weatherTool.schema.properties },
  },
];

function textOf(message: Anthropic.Message): string {
  return message.content.map((block) => (block.type === 'text' ? block.text : '')).join('');
}

export const anthropicSdk: Sdk = {
  name: '@anthropic-ai/sdk',
  provider: 'anthropic',
  base: '/anthropic',
  model: 'claude-sonnet-5-5',
  connect(connection) {
    const client = anthropicClient(connection);
    const { model = anthropicSdk.model } = connection;
    const about = (prompt: string) => ({
      model,
      max_tokens: 256,
      messages: [{ role: 'user' as const, content: prompt }],
    });
    return {
      async ask(prompt, signal) {
        return textOf(await client.messages.create(about(prompt), { signal }));
      },
      async *stream(prompt, signal) {
        const events = await client.messages.create({ ...about(prompt), stream: true }, { signal });
        for await (const event of events) {
          if (event.type === 'content_block_delta' && event.delta.type === 'text_delta')
            yield event.delta.text;
        }
      },
      async useTool(prompt, run) {
        const first = await client.messages.create({ ...about(prompt), tools });
        const results = first.content
          .filter((block) => block.type === 'tool_use')
          .map((block) => ({
            type: 'tool_result' as const,
            tool_use_id: block.id,
            content: run((block.input as { city: string }).city),
          }));
        const second = await client.messages.create({
          ...about(prompt),
          tools,
          messages: [
            { role: 'user', content: prompt },
            { role: 'assistant', content: first.content as Anthropic.ContentBlockParam[] },
            { role: 'user', content: results },
          ],
        });
        return textOf(second);
      },
      async streamTool(prompt) {
        const pieces: string[] = [];
        const stream = client.messages.stream({ ...about(prompt), tools });
        stream.on('streamEvent', (event) => {
          if (event.type === 'content_block_delta' && event.delta.type === 'input_json_delta')
            pieces.push(event.delta.partial_json);
        });
        const message = await stream.finalMessage();
        const call = message.content.find((block) => block.type === 'tool_use');
        // What the SDK put together itself is what it was sent.
        if (cityOf(pieces.join('')) !== (call?.input as { city: string } | undefined)?.city)
          throw new Error('the SDK put together other arguments than it was sent');
        return pieces;
      },
      async models() {
        const names: string[] = [];
        for await (const model of client.models.list()) names.push(model.id);
        return names;
      },
    };
  },
  told(error) {
    const isOwn = error instanceof Anthropic.APIError;
    return {
      isOwn,
      status: isOwn ? error.status : undefined,
      message: (error as Error).message,
      code: null,
      gatewayCode: isOwn ? (error.headers?.get('x-sallyport-code') ?? null) : null,
    };
  },
};
