import { errorObjects } from './failure.ts';
import { keyStarting } from './key-shape.ts';
import {
  openaiOperations,
  isStatefulOpenaiPath,
  openaiOperation,
  openaiUsageReader,
  slowOpenaiOperations,
} from './openai-endpoints.ts';
import { defineProvider } from './provider.ts';

/** Sources: docs.x.ai/developers/rest-api-reference (paths, `stream_options`), /developers/cost-tracking (`cost_in_usd_ticks`). */
export default defineProvider({
  name: 'xai',
  title: 'xAI',
  dialect: 'openai',
  origin: 'https://api.x.ai',
  basePath: '/v1',
  credential: { header: 'authorization', prefix: 'Bearer ' },
  keyShape: keyStarting(['xai-'], 'xai-… (made at console.x.ai)'),
  keyPage: 'https://console.x.ai/team/default/api-keys',
  usagePage: 'https://console.x.ai/team/default/usage',
  forwards: ['x-grok-conv-id'],
  relays: ['x-metrics-', 'x-zero-data-retention'],
  probe: { method: 'GET', path: '/v1/models' },
  operation: openaiOperation,
  operations: openaiOperations,
  servesBareModel: (model) => model.startsWith('grok-'),
  knownModels: [
    'grok-4.5',
    'grok-4.20',
    'grok-4.1-fast',
    'grok-4',
    'grok-4-0709',
    'grok-4-fast-reasoning',
    'grok-4-fast-non-reasoning',
    'grok-code-fast-1',
    'grok-3',
    'grok-3-mini',
    'grok-2-vision-1212',
    'grok-2-image-1212',
  ],
  usageReader: openaiUsageReader,
  slow: slowOpenaiOperations,
  splicesStreamUsage: (operation) => operation === 'openai.chat',
  refusesKey,
  isStatefulPath: isStatefulOpenaiPath,
});

/** A key that is not known comes back as 400, with the ends of it in the text, now and then URL-escaped: {"code","error":"Incorrect API key …"}. */
function refusesKey(status: number, body: Buffer): boolean {
  if (status !== 400) return false;
  return errorObjects(body).some(
    ({ error }) => typeof error === 'string' && /^Incorrect(?: |%20)API(?: |%20)key/.test(error),
  );
}
