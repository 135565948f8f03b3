/** gen_ai.operation.name's well-known values; other operations keep our name. */
const names: Readonly<Record<string, string>> = {
  chat: 'chat',
  responses: 'chat',
  messages: 'chat',
  completions: 'text_completion',
  embeddings: 'embeddings',
  embed_content: 'embeddings',
  batch_embed_contents: 'embeddings',
  generate_content: 'generate_content',
  stream_generate_content: 'generate_content',
};

/** @param operation `openai.chat`, as the provider's file names it. */
export function operationName(operation: string): string {
  const [, name = operation] = operation.split('.', 2);
  return names[name] ?? operation;
}
