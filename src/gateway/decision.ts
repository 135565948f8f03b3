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
import type { HeldCaller } from './callers.ts';
import type { GatewayDeps } from './gateway.ts';
import { modelInPath, type Body, type Incoming } from './incoming.ts';
import type { Question } from './model-choice.ts';
import { nextTarget, resolve } from './resolve.ts';
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
}

export type DecisionDeps = Pick<
  GatewayDeps,
  'journal' | 'limitsOf' | 'resolver' | 'sealGate' | 'prepareGiven'
>;

/** What is decided by: a call's body, or a session's URL. */
export type Asked = Incoming;

/**
 * The first target of a call, ready to go. Everything that can refuse an authenticated call stands here, before the first record of its
 * use.
 *
 * @throws {SallyportError} what `resolve` throws; JOURNAL_UNAVAILABLE, KEY_INVALID, SEAL_*, RATE_LIMITED, VAULT_SEALED.
 */
export async function decideOn(deps: DecisionDeps, undecided: Undecided, asked: Asked): Promise<Dispatch> {
  const caller = undecided.held.current();
  const question = questionOf(undecided, asked);
  const tried: Target[] = [];
  let target = resolve(deps.resolver, caller, question);
  for (;;) {
    try {
      return await ready(deps, undecided, asked, target);
    } catch (error) {
      // The seal of the call opens one of several keys that are sealed to different ones: which, is seen only now.
      if (!(error instanceof SallyportError) || error.code !== 'SEAL_WRONG') throw error;
      tried.push(target);
      const next = nextTarget(deps.resolver, caller, question, tried);
      if (next === null || next.modelAt !== 0 || next.key.protection !== 'sealed') throw error;
      target = next;
    }
  }
}

export function questionOf(undecided: Undecided, asked: Asked): Question {
  const { request, place, seal, providerKey } = undecided;
  const { body, fields, form, model, otherModels } = asked;
  const hint = request.headers['x-sallyport-provider'];
  const isInMemory = Buffer.isBuffer(body);
  const isInBody = (isInMemory && (fields?.spans.model ?? null) !== null) || (form?.model ?? null) !== null;
  return {
    place,
    method: undecided.method ?? request.method ?? 'GET',
    model,
    otherModels,
    providerHint: typeof hint === 'string' ? hint : null,
    isOpaque: body !== null && !isInMemory,
    isPassThrough: providerKey !== null,
    hasSeal: seal !== null,
    // Gemini takes a model from the path, and from both only where they agree.
    renames:
      place.base.dialect === 'google' && modelInPath(place) !== null
        ? isInMemory && !isInBody
          ? 'path'
          : null
        : isInBody
          ? 'body'
          : null,
  };
}

/** One target, ready to go. @throws {SallyportError} as `decideOn`, but for what `resolve` throws */
export async function ready(
  deps: DecisionDeps,
  undecided: Undecided,
  asked: Asked,
  target: Target,
): Promise<Dispatch> {
  const { id, request, held, onTarget } = undecided;
  const { isUnpacked, isStream } = asked;
  const caller = held.current();
  onTarget(target);
  if (!deps.journal.isOpen()) {
    throw new SallyportError(
      'JOURNAL_UNAVAILABLE',
      'The journal cannot be written, and no key is opened without a record.',
      { retryAfter: 1 },
    );
  }
  const { prepared, fingerprint } = await prepare(deps, undecided, target, caller);
  try {
    return {
      target,
      limits: deps.limitsOf(target, caller.policy.timeouts),
      prepared,
      identity: identityOf(id, caller, target, fingerprint, isStream),
      pricing: pricingOf(undecided.method ?? request.method ?? 'GET', target, asked, caller),
      isUnpacked,
      // Last: a form that streams can be opened once.
      ...sentBody(asked, target),
    };
  } catch (error) {
    prepared.wipe();
    throw error;
  }
}

function pricingOf(
  method: string,
  target: Target,
  { body, fields }: Asked,
  { prices }: CallerSnapshot,
): Pricing {
  const isSpoken = target.operation === 'openai.speech' && fields !== null && Buffer.isBuffer(body);
  return {
    method,
    target,
    characters: isSpoken ? spokenCharacters(body) : null,
    overrides: prices,
  };
}

async function prepare(
  deps: DecisionDeps,
  { seal, providerKey, clientAddress }: Undecided,
  target: Target,
  caller: CallerSnapshot,
): Promise<{ readonly prepared: PreparedKey; readonly fingerprint: string | null }> {
  const { key } = target;
  if (key.source === 'pass-through') {
    const given = await prepareGiven(deps, target, caller, providerKey as Buffer);
    return { prepared: given, fingerprint: given.fingerprint };
  }
  const { fingerprint } = key;
  if (key.protection === 'standard') return { prepared: await key.prepare(null), fingerprint };
  const { workspaceId, tokenId } = caller;
  const sender = { workspaceId, tokenId, ip: clientAddress() };
  return { prepared: await deps.sealGate.prepare(key, seal, sender), fingerprint };
}

function prepareGiven(
  deps: DecisionDeps,
  { key, provider, origin }: Target,
  { workspaceId }: Pick<CallerSnapshot, 'workspaceId'>,
  secret: Buffer,
): ReturnType<DecisionDeps['prepareGiven']> {
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

function sentBody({ body, fields, form }: Asked, target: Target): Pick<Dispatch, 'body' | 'holdsUsage'> {
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
  // Gemini's stands in the path.
  if (upstreamModel !== null && fields.spans.model !== null) edits.push(renameModel(fields, upstreamModel));
  return { body: edits.length === 0 ? body : splice(body, edits), holdsUsage: usage !== null };
}

/** Old servers answer 400 to options that they don't know: at a custom origin the key that stands for it says whether it takes this one. */
export function splicesUsage({ provider, key, operation }: Target): boolean {
  return (
    provider.splicesStreamUsage(operation) ||
    (provider.name === 'custom' && key.asksStreamUsage && splicesOpenaiUsage(operation))
  );
}
