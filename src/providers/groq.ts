import { keyStarting } from './key-shape.ts';
import {
  openaiOperations,
  isStatefulOpenaiPath,
  openaiOperation,
  openaiUsageReader,
  slowOpenaiOperations,
} from './openai-endpoints.ts';
import { defineProvider } from './provider.ts';

/** Sources: console.groq.com/docs/openai (paths), /docs/errors and /docs/flex-processing (status 498). */
export default defineProvider({
  name: 'groq',
  title: 'Groq',
  dialect: 'openai',
  origin: 'https://api.groq.com',
  basePath: '/openai/v1',
  credential: { header: 'authorization', prefix: 'Bearer ' },
  keyShape: keyStarting(['gsk_'], 'gsk_… (made at console.groq.com)'),
  keyPage: 'https://console.groq.com/keys',
  usagePage: 'https://console.groq.com/dashboard/usage',
  forwards: ['groq-model-version'],
  relays: ['x-groq-'],
  probe: { method: 'GET', path: '/openai/v1/models' },
  operation: openaiOperation,
  operations: openaiOperations,
  // Its models carry other makers' names: groq/llama-… says where they run.
  servesBareModel: () => false,
  knownModels: [
    'llama-3.3-70b-versatile',
    'llama-3.1-8b-instant',
    'openai/gpt-oss-120b',
    'openai/gpt-oss-20b',
    'meta-llama/llama-4-maverick-17b-128e-instruct',
    'meta-llama/llama-4-scout-17b-16e-instruct',
    'moonshotai/kimi-k2-instruct',
    'qwen/qwen3-32b',
    'qwen/qwen3.6-27b',
    'qwen/qwen3.8-27b',
    'whisper-large-v3',
    'whisper-large-v3-turbo',
  ],
  usageReader: openaiUsageReader,
  slow: slowOpenaiOperations,
  // Counts come unasked, under `x_groq` in the last chunk.
  splicesStreamUsage: () => false,
  statuses: { 498: 'UPSTREAM_OVERLOADED' },
  isStatefulPath: isStatefulOpenaiPath,
});
