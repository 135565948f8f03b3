import type { GoogleGenAI } from '@google/genai';
import type { Method } from './sdk-surface.ts';

type Params = Readonly<Record<string, unknown>>;

/** Resource, method, parameters. This SDK's methods take one object each, of a shape of its own. */
const calls: readonly (readonly [resource: string, method: string, params: Params])[] = [
  ['models', 'generateContent', { contents: 'hello' }],
  ['models', 'generateContentStream', { contents: 'hello' }],
  ['models', 'embedContent', { contents: 'hello' }],
  ['models', 'countTokens', { contents: 'hello' }],
  ['models', 'list', {}],
  ['models', 'get', {}],
  ['models', 'update', {}],
  ['models', 'delete', {}],
  ['batches', 'create', { src: [{ contents: [{ parts: [{ text: 'hello' }] }] }] }],
  ['batches', 'createEmbeddings', { src: { inlinedRequests: { contents: 'hello' } } }],
  ['batches', 'list', {}],
  ['batches', 'get', { name: 'batches/b' }],
  ['batches', 'cancel', { name: 'batches/b' }],
  ['batches', 'delete', { name: 'batches/b' }],
  ['caches', 'create', { config: { contents: 'hello', ttl: '60s' } }],
  ['caches', 'list', {}],
  ['caches', 'get', { name: 'cachedContents/c' }],
  ['caches', 'update', { name: 'cachedContents/c', config: { ttl: '60s' } }],
  ['caches', 'delete', { name: 'cachedContents/c' }],
  ['files', 'list', {}],
  ['files', 'get', { name: 'files/f' }],
  ['files', 'delete', { name: 'files/f' }],
  ['tunings', 'tune', { baseModel: 'gemini-2.5-flash', trainingDataset: { examples: [] } }],
  ['tunings', 'get', { name: 'tunedModels/t' }],
  ['fileSearchStores', 'create', {}],
  ['fileSearchStores', 'list', {}],
  ['fileSearchStores', 'get', { name: 'fileSearchStores/s' }],
  ['fileSearchStores', 'delete', { name: 'fileSearchStores/s' }],
  ['fileSearchStores', 'importFile', { fileSearchStoreName: 'fileSearchStores/s', fileName: 'files/f' }],
  ['authTokens', 'create', {}],
];

export const googleMethods: readonly Method[] = calls.map(([resource, method, params]) => ({
  name: `${resource}.${method}`,
  streams: method.endsWith('Stream'),
  isRequest: true,
  call(client, mark) {
    const at = (client as GoogleGenAI)[resource as 'models'] as unknown as Record<
      string,
      (given: object) => unknown
    >;
    const httpOptions = { headers: { 'User-Agent': mark } };
    const config = { ...(params['config'] as object | undefined), httpOptions };
    return at[method]?.({ model: 'gemini-2.5-flash', ...params, config });
  },
}));
