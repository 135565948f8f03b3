import type { IncomingMessage } from 'node:http';
import { askStreamUsage, renameModel, type RequestFields } from '../dialects/request-fields.ts';
import { spokenCharacters } from '../dialects/spoken-text.ts';
import { splice } from '../dialects/top-level.ts';
import { SallyportError } from '../errors.ts';
import { isAdministrative } from '../providers/catalogue.ts';
import type { TimeLimits } from '../providers/time-limits.ts';
import { splicesOpenaiUsage } from '../providers/openai-endpoints.ts';
import type { PreparedKey } from '../vault/vault.ts';
import type { Pricing } from './attempt-cost.ts';
import type { Place } from './base-url.ts';
import type { BodyShare } from './body-budget.ts';
import type { HeldCaller } from './callers.ts';
import type { GatewayDeps } from './gateway.ts';
import { readIncoming, type Body, type Incoming } from './incoming.ts';
import { resolve } from './resolve.ts';
import type { CallerSnapshot } from './snapshot.ts';
import type { Target } from './target.ts';
import { identityOf, type UseIdentity } from './use-record.ts';

/** What goes out, decided and ready: the key's record is unwrapped, its payload closed. */
export interface Dispatch {
  readonly target: Target;
  readonly limits: TimeLimits;
  readonly prepared: PreparedKey;
  readonly identity: UseIdentity;
  readonly pricing: Pricing;
  readonly body: Body;
  /** It came compressed and goes out unpacked. */
  readonly isUnpacked: boolean;
  /** We asked for the usage chunk, the client did not. */
  readonly holdsUsage: boolean;
}

export interface Undecided {
  readonly id: string;
  readonly request: IncomingMessage;
  /** Where it is not the request's own: a session begins with GET, and runs things as a POST does. */
  readonly method?: 'POST';
  readonly held: HeldCaller;
  readonly place: Place;
  /** What came along with the token; the call's to wipe. */
  readonly seal: Buffer | null;
  readonly providerKey: Buffer | null;
  readonly clientAddress: () => string;
  /** As soon as it is known where the call goes: refusals after it name the provider, and revocation of the key finds the call. */
  readonly onTarget: (target: Target) => void;
  /** What the body takes of the memory for all bodies. */
  readonly share: Pick<BodyShare, 'take'>;
  /** Says `100 Continue` to a client that waits for it. */
  readonly goOn: () => void;
}

type Deps = Pick<
  GatewayDeps,
  | 'journal'
  | 'limitsOf'
  | 'resolver'
  | 'maxJsonBytes'
  | 'maxUploadBytes'
  | 'paces'
  | 'sealGate'
  | 'prepareGiven'
>;

/**
 * Everything that can refuse an authenticated call stands here, before the first record of its use.
 *
 * @throws {SallyportError} what readIncoming and resolve throw; JOURNAL_UNAVAILABLE, KEY_INVALID, SEAL_*, RATE_LIMITED, VAULT_SEALED.
 */
export async function decide(deps: Deps, undecided: Undecided): Promise<Dispatch> {
  const { request, held, place, share, goOn } = undecided;
  const bounds = { ...deps, restrictsModels: held.current().models !== null, share };
  return decideOn(deps, undecided, await readIncoming(request, place, bounds, goOn));
}

/** The same for what has no body, or one that has been read. */
export async function decideOn(
  deps: Omit<Deps, 'maxJsonBytes' | 'maxUploadBytes'>,
  undecided: Omit<Undecided, 'share' | 'goOn'>,
  incoming: Incoming,
): Promise<Dispatch> {
  const { id, request, held, place, onTarget } = undecided;
  const { body, isUnpacked, fields, model, isStream } = incoming;
  const method = undecided.method ?? request.method ?? 'GET';
  // Asked anew after the body: what was revoked while it came is not used.
  const caller = held.current();
  const hint = request.headers['x-sallyport-provider'];
  const target = resolve(deps.resolver, caller, {
    place,
    method,
    model,
    providerHint: typeof hint === 'string' ? hint : null,
    isOpaque: body !== null && !Buffer.isBuffer(body),
    isPassThrough: undecided.providerKey !== null,
  });
  onTarget(target);
  if (!deps.journal.isOpen()) {
    throw new SallyportError(
      'JOURNAL_UNAVAILABLE',
      'The journal cannot be written, and no key is opened without a record.',
      { retryAfter: 1 },
    );
  }
  const sent = sentBody(incoming, target);
  const pricing: Pricing = {
    method,
    target,
    characters:
      target.operation === 'openai.speech' && fields !== null && Buffer.isBuffer(body)
        ? spokenCharacters(body)
        : null,
    overrides: caller.prices,
  };
  const { key } = target;
  const limits = deps.limitsOf(target, caller.policy.timeouts);
  if (key.source === 'pass-through') {
    const given = await prepareGiven(deps, target, caller, undecided.providerKey as Buffer);
    const identity = identityOf(id, caller, target, given.fingerprint, model, isStream);
    return { target, limits, prepared: given, identity, pricing, isUnpacked, ...sent };
  }
  const { workspaceId, tokenId } = caller;
  const prepared = await (key.protection === 'standard'
    ? key.prepare(null)
    : deps.sealGate.prepare(key, undecided.seal, { workspaceId, tokenId, ip: undecided.clientAddress() }));
  const identity = identityOf(id, caller, target, key.fingerprint, model, isStream);
  return { target, limits, prepared, identity, pricing, isUnpacked, ...sent };
}

function prepareGiven(
  deps: Pick<Deps, 'prepareGiven'>,
  { key, provider, origin }: Target,
  { workspaceId }: Pick<CallerSnapshot, 'workspaceId'>,
  secret: Buffer,
): ReturnType<Deps['prepareGiven']> {
  if (isAdministrative(provider.name, secret)) {
    throw new SallyportError(
      'KEY_INVALID',
      'The key that came with the call administers an account; no call goes out with such a key.',
      { fix: `Make a key for calls at ${provider.keyPage}` },
    );
  }
  return deps.prepareGiven({
    workspaceId,
    provider: provider.name,
    auth: key.auth,
    origins: [origin],
    secret,
  });
}

function sentBody({ body, fields, form }: Incoming, target: Target): Pick<Dispatch, 'body' | 'holdsUsage'> {
  if (form !== null) return { body: form.open(target.upstreamModel), holdsUsage: false };
  return fields === null || !Buffer.isBuffer(body)
    ? { body, holdsUsage: false }
    : spliced(body, fields, target);
}

/** The body that goes upstream: the same bytes, apart from the model's name and the usage option where they are ours to change. */
function spliced(body: Buffer, fields: RequestFields, target: Target): Pick<Dispatch, 'body' | 'holdsUsage'> {
  const { upstreamModel } = target;
  const asks = fields.isStream && splicesUsage(target);
  const usage = asks ? askStreamUsage(body, fields) : null;
  const edits = usage === null ? [] : [usage];
  if (upstreamModel !== null) edits.push(renameModel(fields, upstreamModel));
  return { body: edits.length === 0 ? body : splice(body, edits), holdsUsage: usage !== null };
}

/** Old servers answer 400 to options that they don't know: at a custom origin the key that stands for it says whether it takes this one. */
function splicesUsage({ provider, key, operation }: Target): boolean {
  return (
    provider.splicesStreamUsage(operation) ||
    (provider.name === 'custom' && key.asksStreamUsage && splicesOpenaiUsage(operation))
  );
}
