import { anthropicReader } from '../dialects/anthropic-usage.ts';
import { endpointSegments } from './canonical-path.ts';
import { keyStarting } from './key-shape.ts';
import { defineProvider } from './provider.ts';

const operations: readonly (readonly [path: string, operation: string])[] = [
  ['messages/count_tokens', 'anthropic.count_tokens'],
  ['messages/batches', 'anthropic.batches'],
  ['messages', 'anthropic.messages'],
  ['complete', 'anthropic.complete'],
  ['models', 'anthropic.models'],
  ['files', 'anthropic.files'],
  ['skills', 'anthropic.skills'],
];

/** Sources: platform.claude.com/docs/en/api (paths, headers), /api/errors (529, request-id), /build-with-claude/streaming. */
export default defineProvider({
  name: 'anthropic',
  title: 'Anthropic',
  dialect: 'anthropic',
  origin: 'https://api.anthropic.com',
  basePath: '/v1',
  credential: { header: 'x-api-key', prefix: '' },
  keyShape: keyStarting(['sk-ant-'], 'sk-ant-… (made at console.anthropic.com)'),
  keyPage: 'https://console.anthropic.com/settings/keys',
  usagePage: 'https://console.anthropic.com/usage',
  administrativeStarts: ['sk-ant-admin'],
  forwards: [
    'anthropic-beta',
    'anthropic-dangerous-direct-browser-access',
    'anthropic-version',
    'x-app',
    'x-claude-code-session-id',
  ],
  // Whose workspace pays, and whose profile a request counts for.
  forwardsWithOwnKey: ['anthropic-user-profile-id', 'anthropic-workspace-id'],
  relays: ['anthropic-'],
  probe: { method: 'GET', path: '/v1/models?limit=1' },
  operation,
  operations: [...operations.map(([, name]) => name), 'anthropic.other'],
  servesBareModel: (model) => model.startsWith('claude-'),
  knownModels: [
    'claude-fable-5-2',
    'claude-mythos-5-2',
    'claude-haiku-5-5',
    'claude-sonnet-5-5',
    'claude-opus-5-5',
    'claude-fable-5',
    'claude-mythos-5',
    'claude-sonnet-5',
    'claude-opus-5',
    'claude-opus-4-8',
    'claude-opus-4-7',
    'claude-opus-4-6',
    'claude-opus-4-5',
    'claude-sonnet-4-6',
    'claude-sonnet-4-5',
    'claude-haiku-4-5',
  ],
  slow: new Set(['anthropic.messages', 'anthropic.complete']),
  usageReader: (name) => (name === 'anthropic.messages' ? anthropicReader : null),
  // Counts come unasked, in message_start and message_delta.
  splicesStreamUsage: () => false,
  isStatefulPath,
});

function operation(_method: string, path: string): string {
  const endpoint = endpointSegments(path).join('/');
  const found = operations.find(([start]) => endpoint === start || endpoint.startsWith(`${start}/`));
  return found?.[1] ?? 'anthropic.other';
}

/** Messages keep nothing, models are nobody's; unknown endpoints count as stateful. */
function isStatefulPath(method: string, path: string): boolean {
  const endpoint = endpointSegments(path).join('/');
  if (method === 'POST') return !['messages', 'messages/count_tokens', 'complete'].includes(endpoint);
  return !((method === 'GET' || method === 'HEAD') && /^models(?:\/|$)/.test(endpoint));
}
