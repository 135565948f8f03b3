import { SallyportError } from '../errors.ts';
import { matches } from '../name-pattern.ts';
import { givenKey } from './given-key.ts';
import { chooseKey } from './key-choice.ts';
import { choose, type Question, type Resolver } from './model-choice.ts';
import { quoted } from './quoted.ts';
import type { CallerSnapshot, KeySnapshot } from './snapshot.ts';
import type { Target } from './target.ts';

/**
 * Decides where a call goes and whose key pays. Pure.
 *
 * @throws {SallyportError} MODEL_UNKNOWN, MODEL_DIALECT, MODEL_FORBIDDEN, FORBIDDEN, ENDPOINT_FORBIDDEN, EGRESS_REFUSED, NOT_FOUND, REQUEST_INVALID, KEY_*.
 */
export function resolve(resolver: Resolver, caller: CallerSnapshot, question: Question): Target {
  const { place, method, isPassThrough } = question;
  const choice = choose(resolver, caller, question);
  const { provider } = choice;
  if (isPassThrough) checkHint(question.providerHint, choice.name);
  checkToken(caller, choice.name, question, choice.model);

  const storedKey = (): KeySnapshot => chooseKey(caller, choice, resolver.now());
  // Several custom keys may have one name: origin, base path and header are the chosen one's, all.
  const customKey = choice.custom ? storedKey() : null;
  const basePath = customKey?.basePath ?? provider.basePath;
  const upstream = place.base.kind === 'unified' ? joined(basePath, place.rest) : place.rest;
  if (method === 'TRACE') {
    throw new SallyportError(
      'ENDPOINT_FORBIDDEN',
      'TRACE answers with the request, key and all; it is never relayed.',
    );
  }
  // Refused before a known provider's key is chosen: what hands out provider credentials is nobody's, whoever pays.
  if (provider.isRefusedPath(method, upstream)) {
    throw new SallyportError(
      'ENDPOINT_FORBIDDEN',
      'This endpoint hands out provider credentials or administers the account; it is never relayed.',
    );
  }
  const key = isPassThrough ? givenKey(provider, customKey) : (customKey ?? storedKey());
  if (!key.isCallersOwn && provider.isStatefulPath(method, upstream)) {
    throw new SallyportError(
      'ENDPOINT_FORBIDDEN',
      'Files, batches and other stored objects are not relayed on a key that is not your own: its users would see each other’s.',
    );
  }
  const origin = customKey === null ? resolver.originOf(provider.name) : (customKey.origins[0] as string);
  if (key.source !== 'pass-through' && !key.origins.includes(origin)) {
    throw new SallyportError(
      'KEY_ORIGIN',
      `The key was stored for ${key.origins.join(', ')}, and calls to ${provider.title} now go to ${origin}.`,
    );
  }
  const isOperator = customKey?.isOperatorOrigin ?? resolver.isOperatorSet(origin);
  return {
    provider,
    providerName: choice.name,
    key,
    origin,
    reach: isOperator ? 'operator' : 'public',
    path: upstream + place.query,
    operation: provider.operation(method, upstream),
    upstreamModel: choice.upstreamModel,
  };
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
  if (!caller.models.some((pattern) => matches(pattern, model))) {
    throw new SallyportError(
      'MODEL_FORBIDDEN',
      `This token may use ${caller.models.join(', ') || 'no model'}; the call asked for ${quoted(model)}.`,
    );
  }
}

function joined(basePath: string, rest: string): string {
  return basePath === '/' ? rest : basePath + rest;
}
