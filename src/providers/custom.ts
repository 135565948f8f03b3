import { saysApiKeyInvalid, saysScopesMissing } from './failure.ts';
import { canonicalSegments } from './canonical-path.ts';
import { customOperation, customOperations, customUsageReader } from './custom-endpoints.ts';
import { anyKey } from './key-shape.ts';
import { defineProvider } from './provider.ts';

/** Names of collections that dialects keep in the account. */
const collections = new Set([
  'assistants',
  'batches',
  'cachedcontents',
  'containers',
  'conversations',
  'corpora',
  'deferred-completion',
  'evals',
  'files',
  'filesearchstores',
  'fine-tunes',
  'fine_tuning',
  'interactions',
  'memory_stores',
  'skills',
  'threads',
  'tunedmodels',
  'uploads',
  'vaults',
  'vector_stores',
  'videos',
  'webhooks',
]);

/**
 * Any HTTP API with a key: vLLM, Ollama, Mistral, DeepSeek. Origin, base path and the header of the credential are the stored
 * key's; what is here holds where that says nothing. Its answers are read as OpenAI's, the dialect that most of them speak, unless the
 * path is another's. Recipes: docs/providers.md.
 */
export default defineProvider({
  name: 'custom',
  title: 'Custom',
  dialect: 'openai',
  origin: '',
  basePath: '/v1',
  credential: { header: 'authorization', prefix: 'Bearer ' },
  keyShape: anyKey,
  keyPage: '',
  usagePage: '',
  forwards: ['anthropic-beta', 'anthropic-version', 'openai-beta', 'x-title', 'http-referer'],
  relays: ['openai-', 'anthropic-'],
  probe: { method: 'GET', path: '/v1/models' },
  operation: customOperation,
  operations: customOperations,
  servesBareModel: () => false,
  knownModels: [],
  // A model of one's own may be read from disk first.
  slow: 'all',
  usageReader: customUsageReader,
  // Old servers answer 400 to options that they don't know: the stored key's own setting decides.
  splicesStreamUsage: () => false,
  refusesScope: saysScopesMissing,
  refusesKey: (status, body) => status === 400 && saysApiKeyInvalid(body),
  isStatefulPath,
});

/** Here unknown endpoints are the rule, so that only known collections count: by name; stored answers by their id, or by being read. */
function isStatefulPath(method: string, path: string): boolean {
  const segments = canonicalSegments(path);
  if (segments.some((segment) => collections.has(segment))) return true;
  if (method !== 'POST' && segments.join('/').includes('chat/completions')) return true;
  const at = segments.indexOf('responses');
  return at >= 0 && (method !== 'POST' || at < segments.length - 1);
}
