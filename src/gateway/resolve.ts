import { SallyportError } from '../errors.ts';
import { matches } from '../name-pattern.ts';
import { canonicalSegments } from '../providers/canonical-path.ts';
import type { Provider } from '../providers/provider.ts';
import type { Place } from './base-url.ts';
import { fallbackChoice } from './fallback.ts';
import { givenKey } from './given-key.ts';
import { chooseKey, type SkipReason } from './key-choice.ts';
import { choose, type Question, type Resolver } from './model-choice.ts';
import { quoted } from './quoted.ts';
import type { CallerSnapshot, KeySnapshot } from './snapshot.ts';
import type { Target } from './target.ts';

/** A target that is not asked: one key, or a whole model, by a code of the table. */
export interface Skipped {
  readonly model: string | null;
  readonly keyId: string | null;
  readonly reason: SkipReason | SallyportError['code'];
}

/**
 * Decides where a call goes first and whose key pays. Pure, but for the draw among several keys.
 *
 * @throws {SallyportError} MODEL_UNKNOWN, MODEL_DIALECT, MODEL_FORBIDDEN, FORBIDDEN, ENDPOINT_FORBIDDEN, EGRESS_REFUSED, NOT_FOUND,
 *   REQUEST_INVALID, UPSTREAM_AUTH (the provider has refused the stored key before), KEY_*.
 */
export function resolve(resolver: Resolver, caller: CallerSnapshot, question: Question): Target {
  return walk(resolver, caller, question, null, null) as Target;
}

/**
 * Where a call goes that failed on `tried` in a way that may be repeated: to another key of the same payer, then to the models that the
 * token falls back to. Never to one that is known to be ill: a further attempt there helps nobody.
 *
 * @returns null where nothing is left.
 */
export function nextTarget(
  resolver: Resolver,
  caller: CallerSnapshot,
  question: Question,
  tried: readonly Target[],
): Target | null {
  return question.isPassThrough ? null : walk(resolver, caller, question, tried, null);
}

/** The same target once more, by what the caller may do now. @returns null where he may not any more */
export function sameTarget(
  resolver: Resolver,
  caller: CallerSnapshot,
  question: Question,
  target: Target,
): Target | null {
  const { key, modelAt } = target;
  // As long as the snapshot stands nothing can have changed.
  if (key.id === null || caller.keys.includes(key)) return target;
  try {
    const only = { ...caller, keyIds: [key.id] };
    return targetAt(resolver, only, question, modelAt, { tried: null, takesIll: true, onSkipped: null });
  } catch (error) {
    if (error instanceof SallyportError) return null;
    throw error;
  }
}

/** Every target that a call may come to, in an order that may be drawn, and what is passed over. @throws as `resolve` */
export function plan(
  resolver: Resolver,
  caller: CallerSnapshot,
  question: Question,
): { readonly targets: readonly Target[]; readonly skipped: readonly Skipped[] } {
  const skipped: Skipped[] = [];
  const targets = [walk(resolver, caller, question, null, (each) => void skipped.push(each)) as Target];
  while (targets.length < caller.policy.maxAttempts) {
    const next = nextTarget(resolver, caller, question, targets);
    if (next === null) break;
    targets.push(next);
  }
  return { targets, skipped };
}

type OnSkipped = (skipped: Skipped) => void;

/** @param tried null: this is the first, which is refused by an error. */
function walk(
  resolver: Resolver,
  caller: CallerSnapshot,
  question: Question,
  tried: readonly Target[] | null,
  onSkipped: OnSkipped | null,
): Target | null {
  const isFirst = tried === null;
  const mayChange = question.renames !== null && !question.isPassThrough;
  const last = mayChange ? caller.policy.fallbackModels.length : 0;
  let refusal: SallyportError | null = null;
  // One that is ill is taken where nothing else is there: no call is refused by a guess of ours.
  for (let takesIll = isFirst && last === 0; ; takesIll = true) {
    for (let at = 0; at <= last; at += 1) {
      try {
        const found = targetAt(resolver, caller, question, at, { tried, takesIll, onSkipped });
        if (found !== null) return found;
      } catch (error) {
        if (!(error instanceof SallyportError)) throw error;
        // A key that its provider refuses has failed; what is wrong with the caller's own bounds or keys is not covered up.
        if (at === 0 && isFirst && (last === 0 || error.code !== 'UPSTREAM_AUTH')) throw error;
        refusal ??= error;
        if (at > 0) onSkipped?.({ model: modelAt(caller, question, at), keyId: null, reason: error.code });
      }
    }
    if (!isFirst) return null;
    if (takesIll) throw refusal ?? new Error('a first target is found or refused');
  }
}

function modelAt(caller: CallerSnapshot, question: Question, at: number): string | null {
  return at === 0 ? question.model : (caller.policy.fallbackModels[at - 1] as string);
}

interface Bounds {
  readonly tried: readonly Target[] | null;
  readonly takesIll: boolean;
  readonly onSkipped: OnSkipped | null;
}

/** @param at 0: the model asked for; from 1 on those that the token falls back to. @returns null where its keys were tried, or are ill */
function targetAt(
  resolver: Resolver,
  caller: CallerSnapshot,
  question: Question,
  at: number,
  { tried, takesIll, onSkipped }: Bounds,
): Target | null {
  const { method, isPassThrough } = question;
  const asked = choose(resolver, caller, question);
  const model = modelAt(caller, question, at);
  const { choice, place } =
    at === 0
      ? { choice: asked, place: question.place }
      : fallbackChoice(resolver, caller, question, asked, model as string);
  const { provider } = choice;
  if (isPassThrough) checkHint(question.providerHint, choice.name);
  checkToken(caller, choice.name, question, choice.model);
  const origin = choice.custom ? null : resolver.originOf(provider.name);
  // Refused before a known provider's key is chosen: what hands out provider credentials is nobody's, whoever pays.
  const known = choice.custom ? null : wayTo(caller, provider, method, place, provider.basePath);
  // Several custom keys may have one name: origin, base path and header are the chosen one's, all.
  const needsStored = choice.custom || !isPassThrough;
  const stored = needsStored
    ? chooseKey(caller, choice, {
        now: resolver.now(),
        random: resolver.random,
        hasSeal: question.hasSeal || isPassThrough,
        origin,
        isWell: resolver.isWell,
        isTried:
          tried === null
            ? null
            : (key) => tried.some((target) => target.modelAt === at && target.key.id === key.id),
        isFixed: () => isPassThrough || provider.isStatefulPath(method, known?.upstream ?? place.rest),
        takesIll,
        onSkipped: onSkipped === null ? null : (key, reason) => onSkipped({ model, keyId: key.id, reason }),
      })
    : null;
  if (needsStored && stored === null) return null;
  const customKey = choice.custom ? stored : null;
  const way = known ?? wayTo(caller, provider, method, place, (customKey as KeySnapshot).basePath);
  checkDirect(caller, method, way.upstream);
  const key = isPassThrough ? givenKey(provider, customKey) : (stored as KeySnapshot);
  if (!key.isCallersOwn && provider.isStatefulPath(method, way.upstream)) {
    throw new SallyportError(
      'ENDPOINT_FORBIDDEN',
      'Files, batches and other stored objects are not relayed on a key that is not your own: its users would see each other’s.',
    );
  }
  const to = origin ?? ((customKey as KeySnapshot).origins[0] as string);
  const isOperator = customKey?.isOperatorOrigin ?? resolver.isOperatorSet(to);
  return {
    provider,
    providerName: choice.name,
    key,
    origin: to,
    reach: isOperator ? 'operator' : 'public',
    path: way.upstream + place.query,
    operation: way.operation,
    model,
    modelAt: at,
    upstreamModel: choice.upstreamModel,
  };
}

/** The path at the provider, if this caller may go there. */
function wayTo(
  caller: CallerSnapshot,
  provider: Provider,
  method: string,
  { base, rest }: Place,
  basePath: string,
): { readonly upstream: string; readonly operation: string } {
  const upstream = base.kind === 'unified' && basePath !== '/' ? basePath + rest : rest;
  if (method === 'TRACE') {
    throw new SallyportError(
      'ENDPOINT_FORBIDDEN',
      'TRACE answers with the request, key and all; it is never relayed.',
    );
  }
  if (provider.isRefusedPath(method, upstream)) {
    throw new SallyportError(
      'ENDPOINT_FORBIDDEN',
      'This endpoint hands out provider credentials or administers the account; it is never relayed.',
    );
  }
  const operation = provider.operation(method, upstream);
  if (caller.endpoints !== null && !caller.endpoints.some((pattern) => matches(pattern, operation))) {
    throw new SallyportError(
      'ENDPOINT_FORBIDDEN',
      `This token may use ${caller.endpoints.join(', ') || 'no endpoint'}, and the call is ${operation}.`,
      { fix: 'Use an endpoint that the token allows, or have the token changed.' },
    );
  }
  return { upstream, operation };
}

/** Whoever says whose key it is does not have it sent to another: `openai/gpt-oss-120b` is Groq’s own name of a model too. */
function checkHint(hint: string | null, name: string): void {
  if (hint === null || hint === name) return;
  throw new SallyportError(
    'REQUEST_INVALID',
    `x-sallyport-provider says that the key of this call is for ${quoted(hint)}, and the call goes to ${name}.`,
    { fix: 'Write that provider’s name and a slash before the model, or leave the header out.' },
  );
}

function checkToken(caller: CallerSnapshot, name: string, question: Question, model: string | null): void {
  if (caller.providers !== null && !caller.providers.includes(name)) {
    throw new SallyportError(
      'FORBIDDEN',
      `This token may use ${caller.providers.join(', ') || 'no provider'}, and the call is for ${name}.`,
    );
  }
  if (question.isPassThrough && caller.keyIds !== null) {
    throw new SallyportError(
      'FORBIDDEN',
      'This token may use certain stored keys only, and the call brings a key of its own.',
      { fix: 'Send the call without x-sallyport-provider-key, or use a token that is not bound to keys.' },
    );
  }
  if (caller.models === null) return;
  if (model === null) {
    // Batches, fine-tuning and stored prompts name their models where they are not read; looking and deleting runs none.
    if (!question.isOpaque && ['GET', 'HEAD', 'OPTIONS', 'DELETE'].includes(question.method)) return;
    throw new SallyportError(
      'MODEL_FORBIDDEN',
      `This token may use certain models only, and ${
        question.isOpaque
          ? 'the model of a streamed upload cannot be read'
          : 'this call does not say which it uses'
      }.`,
    );
  }
  const mayUse = (asked: string): boolean =>
    caller.models?.some((pattern) => matches(pattern, asked)) !== false;
  const refused = mayUse(model)
    ? question.otherModels?.find((other) => !mayUse(other) && !mayUse(`${name}/${other}`))
    : model;
  if (refused === undefined) return;
  throw new SallyportError(
    'MODEL_FORBIDDEN',
    `This token may use ${caller.models.join(', ') || 'no model'}; the call asked for ${quoted(refused)}.`,
  );
}

/** What is said over WebRTC goes past us: a session that is begun so runs whatever its client names later. */
function checkDirect(caller: CallerSnapshot, method: string, upstream: string): void {
  if (caller.models === null || method === 'GET' || !/(?:^|\/)realtime\/calls$/.test(endpointOf(upstream)))
    return;
  throw new SallyportError(
    'MODEL_FORBIDDEN',
    'This token may use certain models only, and what a call over WebRTC runs is not seen here.',
    { fix: 'Open the session as a WebSocket, or use a token without a list of models.' },
  );
}

function endpointOf(upstream: string): string {
  return canonicalSegments(upstream).join('/');
}
