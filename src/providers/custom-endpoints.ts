import { anthropicReader } from '../dialects/anthropic-usage.ts';
import { cohereReader } from '../dialects/cohere-usage.ts';
import type { UsageReader } from '../dialects/usage-reader.ts';
import { ollamaReader } from '../dialects/ollama-usage.ts';
import { endpointSegments } from './canonical-path.ts';
import { openaiOperations, openaiUsageReader, operationOf } from './openai-endpoints.ts';

/** Azure OpenAI's versioned paths name the deployment before OpenAI's endpoint (learn.microsoft.com/azure/ai-foundry/openai/reference). */
const azureDeployment = /^openai\/deployments\/[^/]+\//;

/** DeepSeek, OpenRouter, vLLM and Ollama serve Anthropic's Messages too, for its SDK and agents. */
const anthropicOperations: Readonly<Record<string, string>> = {
  messages: 'anthropic.messages',
  'messages/count_tokens': 'anthropic.count_tokens',
};

/** Cohere's own endpoints, and reranking wherever it is offered. */
const cohereOperations: Readonly<Record<string, string>> = {
  chat: 'custom.chat',
  embed: 'custom.embed',
  rerank: 'custom.rerank',
};

/** Ollama's own: docs.ollama.com/api. */
const ollamaOperations: Readonly<Record<string, string>> = {
  'api/chat': 'ollama.chat',
  'api/generate': 'ollama.generate',
  'api/embed': 'ollama.embed',
};

/** All that `customOperation` may say. */
export const customOperations: readonly string[] = [
  ...Object.values({ ...anthropicOperations, ...cohereOperations, ...ollamaOperations }),
  ...openaiOperations,
];

export function customOperation(method: string, path: string): string {
  const endpoint = endpointSegments(path).join('/').replace(azureDeployment, '');
  const own = anthropicOperations[endpoint] ?? cohereOperations[endpoint] ?? ollamaOperations[endpoint];
  return own ?? operationOf(method, endpoint);
}

export function customUsageReader(operation: string): UsageReader | null {
  if (operation === 'anthropic.messages') return anthropicReader;
  if (operation.startsWith('ollama.')) return ollamaReader;
  return operation.startsWith('custom.') ? cohereReader : openaiUsageReader(operation);
}
