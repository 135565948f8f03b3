import { anthropicReader } from '../dialects/anthropic-usage.ts';
import type { UsageReader } from '../dialects/usage-reader.ts';
import { endpointSegments } from './canonical-path.ts';
import { openaiUsageReader, operationOf } from './openai-endpoints.ts';

/** Azure OpenAI's versioned paths name the deployment before OpenAI's endpoint (learn.microsoft.com/azure/ai-foundry/openai/reference). */
const azureDeployment = /^openai\/deployments\/[^/]+\//;

/** DeepSeek, OpenRouter, vLLM and Ollama serve Anthropic's Messages too, for its SDK and agents. */
const anthropicOperations: Readonly<Record<string, string>> = {
  messages: 'anthropic.messages',
  'messages/count_tokens': 'anthropic.count_tokens',
};

export function customOperation(_method: string, path: string): string {
  const endpoint = endpointSegments(path).join('/').replace(azureDeployment, '');
  return anthropicOperations[endpoint] ?? operationOf(endpoint);
}

export function customUsageReader(operation: string): UsageReader | null {
  return operation === 'anthropic.messages' ? anthropicReader : openaiUsageReader(operation);
}
