import { googleReader } from '../dialects/google-usage.ts';
import { interactionReader } from '../dialects/interaction-usage.ts';
import { endpointSegments } from './canonical-path.ts';
import { saysApiKeyInvalid } from './failure.ts';
import { keyStarting } from './key-shape.ts';
import {
  openaiOperations,
  openaiUsageReader,
  operationOf,
  slowOpenaiOperations,
} from './openai-endpoints.ts';
import { defineProvider } from './provider.ts';

/** Actions on models (`models/NAME:verb`), lower case as canonical paths are. */
const actions: Readonly<Record<string, string>> = {
  generatecontent: 'google.generate_content',
  streamgeneratecontent: 'google.stream_generate_content',
  embedcontent: 'google.embed_content',
  batchembedcontents: 'google.batch_embed_contents',
  counttokens: 'google.count_tokens',
  predict: 'google.predict',
};

/** What is answered later, and charged for then. They leave a batch in the account, unlike the actions above. */
const laterActions: Readonly<Record<string, string>> = {
  batchgeneratecontent: 'google.batch_generate_content',
  asyncbatchembedcontent: 'google.async_batch_embed_content',
};

/** Image and video models are asked by `predict` too. */
const slow = new Set([
  ...slowOpenaiOperations,
  'google.generate_content',
  'google.stream_generate_content',
  'google.predict',
  'google.interactions',
]);

const collections: Readonly<Record<string, string>> = {
  models: 'google.models',
  files: 'google.files',
  cachedcontents: 'google.cached_contents',
  batches: 'google.batches',
};

const metered = new Set([
  'google.generate_content',
  'google.stream_generate_content',
  'google.embed_content',
  'google.batch_embed_contents',
]);

/** Sources: ai.google.dev/api (paths, errors, usageMetadata), /gemini-api/docs/api-key (keys begin with AQ. since 2026). */
export default defineProvider({
  name: 'google',
  title: 'Google Gemini',
  dialect: 'google',
  origin: 'https://generativelanguage.googleapis.com',
  basePath: '/v1beta',
  credential: { header: 'x-goog-api-key', prefix: '' },
  keyShape: keyStarting(['AIza', 'AQ.'], 'AIza… or AQ.… (made at aistudio.google.com)'),
  keyPage: 'https://aistudio.google.com/app/apikey',
  usagePage: 'https://aistudio.google.com/usage',
  forwards: [
    'x-goog-api-client',
    'x-goog-upload-command',
    'x-goog-upload-file-name',
    'x-goog-upload-header-content-length',
    'x-goog-upload-header-content-type',
    'x-goog-upload-offset',
    'x-goog-upload-protocol',
    'x-server-timeout',
  ],
  // The URL of an upload goes on as one of the gateway's (gateway/upload-url.ts).
  relays: [
    'x-goog-upload-status',
    'x-goog-upload-chunk-granularity',
    'x-goog-upload-size-received',
    'x-gemini-service-tier',
  ],
  probe: { method: 'GET', path: '/v1beta/models?pageSize=1' },
  operation,
  operations: [
    ...Object.values({ ...actions, ...laterActions, ...collections }),
    'google.interactions',
    'google.stored_interactions',
    'google.other',
    ...openaiOperations,
  ],
  servesBareModel: (model) => /^(?:models\/)?(?:gemini-|gemma-|imagen-|veo-|text-embedding-00)/.test(model),
  knownModels: [
    'gemini-3.1-pro',
    'gemini-3.1-flash',
    'gemini-3.1-flash-lite',
    'gemini-3-pro-preview',
    'gemini-3-flash-preview',
    'gemini-2.5-pro',
    'gemini-2.5-flash',
    'gemini-2.5-flash-lite',
    'gemini-2.5-flash-image',
    'gemini-2.0-flash',
    'gemini-2.0-flash-lite',
    'gemini-embedding-001',
    'text-embedding-004',
  ],
  slow,
  usageReader: (name) => {
    if (name === 'google.interactions') return interactionReader;
    return metered.has(name) ? googleReader : openaiUsageReader(name);
  },
  splicesStreamUsage: () => false,
  refusesKey: (status, body) => status === 400 && saysApiKeyInvalid(body),
  isStatefulPath,
});

function operation(method: string, path: string): string {
  const [first = '', second = '', ...more] = endpointSegments(path);
  // Its OpenAI-compatible endpoints (ai.google.dev/gemini-api/docs/openai) answer in that dialect.
  if (first === 'openai') return operationOf(method, [second, ...more].join('/'));
  if (first === 'interactions')
    return method === 'POST' && second === '' ? 'google.interactions' : 'google.stored_interactions';
  const verb = (more.at(-1) ?? second).split(':')[1];
  if (verb !== undefined) return actions[verb] ?? laterActions[verb] ?? 'google.other';
  return collections[first] ?? 'google.other';
}

/** What models do with a prompt keeps nothing, and their list is public; all else (`models/NAME/operations` too) is somebody's object. */
function isStatefulPath(method: string, path: string): boolean {
  const segments = endpointSegments(path);
  if (segments[0] === 'openai') {
    const endpoint = segments.slice(1).join('/');
    return method === 'POST'
      ? !['chat/completions', 'embeddings', 'images/generations'].includes(endpoint)
      : segments[1] !== 'models';
  }
  if (segments[0] !== 'models') return true;
  const verb = segments.at(-1)?.split(':')[1];
  return method === 'POST'
    ? verb === undefined || actions[verb] === undefined
    : segments.length > 2 || (method !== 'GET' && method !== 'HEAD');
}
