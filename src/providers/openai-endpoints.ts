import { openaiReader } from '../dialects/openai-usage.ts';
import type { UsageReader } from '../dialects/usage-reader.ts';
import { endpointSegments } from './canonical-path.ts';

/** Endpoints of OpenAI's dialect by their first segments, the longest first. */
const operations: readonly (readonly [path: string, operation: string])[] = [
  ['chat/completions', 'openai.chat'],
  ['completions', 'openai.completions'],
  ['responses/input_tokens', 'openai.input_tokens'],
  ['responses', 'openai.responses'],
  ['embeddings', 'openai.embeddings'],
  ['images', 'openai.images'],
  ['audio/speech', 'openai.speech'],
  ['audio/transcriptions', 'openai.transcriptions'],
  ['audio/translations', 'openai.translations'],
  ['moderations', 'openai.moderations'],
  ['models', 'openai.models'],
  ['files', 'openai.files'],
  ['uploads', 'openai.uploads'],
  ['batches', 'openai.batches'],
  ['fine_tuning', 'openai.fine_tuning'],
  ['vector_stores', 'openai.vector_stores'],
  ['assistants', 'openai.assistants'],
  ['threads', 'openai.threads'],
  ['conversations', 'openai.conversations'],
  ['containers', 'openai.containers'],
  ['evals', 'openai.evals'],
  ['videos', 'openai.videos'],
  ['realtime', 'openai.realtime'],
];

/** Exactly these, with POST, leave nothing in the account that another user of the key could list. */
const statelessPosts = new Set([
  'chat/completions',
  'completions',
  'responses',
  'responses/compact',
  'responses/input_tokens',
  'embeddings',
  'images/generations',
  'images/edits',
  'images/variations',
  'audio/speech',
  'audio/transcriptions',
  'audio/translations',
  'moderations',
  'realtime', // and sessions over a WebSocket, which count as POSTs
  'realtime/calls',
  'realtime/translations',
  'tokenize-text', // xAI
]);

/** Lists of what is on offer. */
const statelessGets = /^(?:models|language-models|embedding-models|image-generation-models)(?:\/|$)/;

const metered = new Set([
  'openai.chat',
  'openai.completions',
  'openai.responses',
  'openai.embeddings',
  'openai.images',
  'openai.speech',
  'openai.transcriptions',
  'openai.translations',
]);

/** Of models that think, draw, or listen to hours of speech. */
export const slowOpenaiOperations: ReadonlySet<string> = new Set([
  'openai.chat',
  'openai.completions',
  'openai.responses',
  'openai.stored_responses',
  'openai.images',
  'openai.speech',
  'openai.transcriptions',
  'openai.translations',
]);

/** Answers that are made now, by POST, and nowhere below; what else stands there is about answers that were made and metered before. */
const making: Readonly<Record<string, { readonly made: readonly string[]; readonly stored: string }>> = {
  'openai.chat': { made: ['chat/completions'], stored: 'openai.stored_chat' },
  'openai.responses': { made: ['responses', 'responses/compact'], stored: 'openai.stored_responses' },
};

/** All that `operationOf` may say. */
export const openaiOperations: readonly string[] = [
  ...operations.map(([, operation]) => operation),
  ...Object.values(making).map(({ stored }) => stored),
  'openai.other',
];

export function openaiOperation(method: string, path: string): string {
  return operationOf(method, endpointSegments(path).join('/'));
}

/** As `openaiOperation`, for what follows the version or base path. */
export function operationOf(method: string, endpoint: string): string {
  const found = operations.find(([start]) => endpoint === start || endpoint.startsWith(`${start}/`))?.[1];
  if (found === undefined) return 'openai.other';
  const { made, stored } = making[found] ?? { made: [], stored: found };
  return method === 'POST' && made.includes(endpoint) ? found : stored;
}

export function openaiUsageReader(operation: string): UsageReader | null {
  return metered.has(operation) ? openaiReader : null;
}

/** Unknown endpoints count as stateful: what a provider adds tomorrow is not shared before somebody looked at it. */
export function isStatefulOpenaiPath(method: string, path: string): boolean {
  const endpoint = endpointSegments(path).join('/');
  if (method === 'POST') return !statelessPosts.has(endpoint);
  return !((method === 'GET' || method === 'HEAD') && statelessGets.test(endpoint));
}

/** Accepted by chat and the older completions (platform.openai.com/docs/api-reference/chat/create#stream_options). */
export function splicesOpenaiUsage(operation: string): boolean {
  return operation === 'openai.chat' || operation === 'openai.completions';
}
