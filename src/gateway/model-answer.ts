import type { IncomingMessage } from 'node:http';
import { SallyportError } from '../errors.ts';
import type { Place } from './base-url.ts';
import type { GatewayDeps } from './gateway.ts';
import type { CallerSnapshot } from './snapshot.ts';

/** A call that may be for the merged list of models. */
export interface AskedModels {
  readonly place: Place;
  readonly caller: CallerSnapshot;
  /** The call's to wipe. */
  readonly seal: Buffer | null;
  readonly isPassThrough: boolean;
}

export interface ModelAnswer {
  readonly body: Buffer | undefined;
  /** Flat. */
  readonly headers: readonly string[];
}

/** The merged list is nobody's answer but ours, unless the call says whose list it wants. */
export function isOwnList(
  { method, headers }: IncomingMessage,
  { place: { base, rest }, isPassThrough }: AskedModels,
): boolean {
  return (
    base.kind === 'unified' &&
    (rest === '/models' || rest.startsWith('/models/')) &&
    (method === 'GET' || method === 'HEAD') &&
    headers['x-sallyport-provider'] === undefined &&
    !isPassThrough
  );
}

/** `GET /v1/models`, or one of them by its name. @throws {SallyportError} as the catalogue. */
export async function answerModels(
  deps: Pick<GatewayDeps, 'models' | 'clientAddress' | 'lastUsed' | 'now'>,
  request: IncomingMessage,
  { place: { rest }, caller, seal }: AskedModels,
): Promise<ModelAnswer> {
  deps.lastUsed.note(caller.tokenId, null, deps.now());
  const asking = { caller, seal, clientAddress: deps.clientAddress(request) };
  const isHead = request.method === 'HEAD';
  if (rest !== '/models') return answerOf(await deps.models.one(asking, nameIn(rest)), isHead, []);
  const { data, missing } = await deps.models.list(asking);
  return answerOf({ object: 'list', data }, isHead, missing);
}

function answerOf(document: object, isHead: boolean, missing: readonly string[]): ModelAnswer {
  const body = Buffer.from(JSON.stringify(document));
  const told = missing.length === 0 ? [] : ['x-sallyport-models-missing', missing.join(', ')];
  return {
    body: isHead ? undefined : body,
    headers: ['content-type', 'application/json', 'content-length', String(body.length), ...told],
  };
}

function nameIn(rest: string): string {
  try {
    return decodeURIComponent(rest.slice('/models/'.length));
  } catch {
    throw new SallyportError('REQUEST_INVALID', 'The name of the model in the path is not UTF-8.');
  }
}
