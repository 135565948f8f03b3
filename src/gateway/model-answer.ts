import type { IncomingMessage, ServerResponse } from 'node:http';
import { SallyportError } from '../errors.ts';
import type { Authenticated } from './authentication.ts';
import type { Place } from './base-url.ts';
import type { GatewayDeps } from './gateway.ts';
import type { Asking } from './model-catalog.ts';

/** The merged list is nobody's answer but ours, unless the call says whose list it wants. */
function isOwnList({ method, headers }: IncomingMessage, { base, rest }: Place): boolean {
  return (
    base.kind === 'unified' &&
    (rest === '/models' || rest.startsWith('/models/')) &&
    (method === 'GET' || method === 'HEAD') &&
    headers['x-sallyport-provider'] === undefined
  );
}

/**
 * `GET /v1/models`, or one of them by its name.
 *
 * @param ownHeaders flat
 * @returns false: the call is for something else, or for a model that its provider alone can tell of.
 * @throws {SallyportError} as the catalogue.
 */
export async function answersModels(
  deps: Pick<GatewayDeps, 'models' | 'clientAddress' | 'lastUsed' | 'now'>,
  request: IncomingMessage,
  response: ServerResponse,
  place: Place,
  { held, seal, providerKey }: Authenticated,
  ownHeaders: () => readonly string[],
): Promise<boolean> {
  if (providerKey !== null || !isOwnList(request, place)) return false;
  const caller = held.current();
  deps.lastUsed.note(caller.tokenId, null, deps.now());
  const asking = { caller, seal, clientAddress: deps.clientAddress(request) };
  const { document, headers } = await answerOf(deps, place.rest, asking);
  if (document === null) return false;
  const body = Buffer.from(JSON.stringify(document));
  const form = ['content-type', 'application/json', 'content-length', String(body.length)];
  response.writeHead(200, [...form, ...headers, ...ownHeaders()]);
  response.end(request.method === 'HEAD' ? undefined : body);
  return true;
}

async function answerOf({ models }: Pick<GatewayDeps, 'models'>, rest: string, asking: Asking) {
  if (rest !== '/models') return { document: await models.one(asking, nameIn(rest)), headers: [] };
  const { data, missing } = await models.list(asking);
  const headers = missing.length === 0 ? [] : ['x-sallyport-models-missing', missing.join(', ')];
  return { document: { object: 'list', data }, headers };
}

function nameIn(rest: string): string {
  try {
    return decodeURIComponent(rest.slice('/models/'.length));
  } catch {
    throw new SallyportError('REQUEST_INVALID', 'The name of the model in the path is not UTF-8.');
  }
}
