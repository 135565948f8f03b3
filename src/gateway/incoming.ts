import type { IncomingMessage } from 'node:http';
import { isForm } from '../dialects/form-model.ts';
import { readRequestFields, type RequestFields } from '../dialects/request-fields.ts';
import { modelsInMessage } from '../dialects/realtime-models.ts';
import { readTopLevel } from '../dialects/top-level.ts';
import { SallyportError } from '../errors.ts';
import type { Place } from './base-url.ts';
import type { BodyShare } from './body-budget.ts';
import type { Paces } from './body-pace.ts';
import { unpacked } from './encoded-body.ts';
import { type FormBody, readForm } from './form-body.ts';
import {
  bodyKind,
  boundedUpload,
  checkLength,
  readBody,
  type Upload,
  type BodyKind,
} from './request-body.ts';
import { modelsInQuery } from './realtime-model.ts';
import { isUploadedPart } from './upload-url.ts';

/** A body in memory may be sent again; one that streams through may not. */
export type Body = Buffer | Upload | null;

export interface Incoming {
  /** Null too where a form came, which is opened when it is known what its model is called upstream. */
  readonly body: Body;
  /** It came compressed and was unpacked: its content-encoding is not its own any more. */
  readonly isUnpacked: boolean;
  readonly form: FormBody | null;
  /** The few members that the gateway acts on, or null where no JSON object came. */
  readonly fields: RequestFields | null;
  /** As the client asked for it, in the body or in Gemini's path. */
  readonly model: string | null;
  /** Named beside it; looked for only where the token restricts models. */
  readonly otherModels: readonly string[];
  readonly isStream: boolean;
}

export interface Bounds {
  readonly maxJsonBytes: number;
  readonly maxUploadBytes: number;
  /** The token restricts models, so that none may go by unread. */
  readonly restrictsModels: boolean;
  readonly share: Pick<BodyShare, 'take'>;
  readonly paces: Paces;
}

/**
 * What a call brings: its body, whole where it is JSON and streaming where it is not, and the few members that decide.
 *
 * @param goOn says `100 Continue` to a client that waits for it; called before the first byte is read.
 * @throws {SallyportError} BODY_TOO_LARGE, REQUEST_TIMEOUT, REQUEST_INVALID, CLIENT_CLOSED.
 */
export async function readIncoming(
  request: IncomingMessage,
  place: Place,
  bounds: Bounds,
  goOn: () => void,
): Promise<Incoming> {
  refuseHalfUpgrade(request);
  const { body, isUnpacked, fields, form } = await readBodyAndFields(request, place, bounds, goOn);
  return {
    body,
    isUnpacked,
    fields,
    form,
    otherModels: bounds.restrictsModels
      ? [...modelsInQuery(place.query), ...(fields === null ? [] : modelsInTools(body as Buffer))]
      : [],
    // The path goes first: it decides what runs at Google, whatever a `model` in the body says.
    model: isGoogle(place)
      ? (modelInPath(place) ?? fields?.model?.replace(/^models\//, '') ?? null)
      : (fields?.model ?? form?.model ?? null),
    isStream: fields?.isStream === true || (isGoogle(place) && /(?::|%3a)stream/i.test(place.rest)),
  };
}

async function readBodyAndFields(
  request: IncomingMessage,
  place: Place,
  bounds: Bounds,
  goOn: () => void,
): Promise<Pick<Incoming, 'body' | 'isUnpacked' | 'fields' | 'form'>> {
  const plain = { isUnpacked: false, fields: null, form: null };
  const kind = kindOf(request, place);
  if (kind === 'none') return { body: null, ...plain };
  const isUnified = place.base.kind === 'unified';
  const isRead = kind === 'json' || (kind === 'coded' && (isUnified || bounds.restrictsModels));
  const maxBytes = isRead ? bounds.maxJsonBytes : bounds.maxUploadBytes;
  checkLength(request, maxBytes);
  if (!isRead && isUnified) refuseUnreadable(request);
  goOn();
  if (!isRead && isForm(request.headers['content-type']) && !isEncoded(request))
    return { body: null, ...plain, form: await readForm(request, { ...bounds, isStrict: isUnified }) };
  if (!isRead) return { body: boundedUpload(request, maxBytes, bounds.paces.upload), ...plain };
  const sent = await readBody(request, maxBytes, bounds.share, bounds.paces.whole);
  const isUnpacked = kind === 'coded';
  // What proxies make of a request without a body; nothing is coded in nothing.
  if (sent.length === 0) return { ...plain, body: null, isUnpacked };
  const coding = request.headers['content-encoding'] ?? '';
  const body = isUnpacked ? await unpacked(sent, coding, maxBytes, bounds.share) : sent;
  // What an API of somebody's own takes as JSON is not ours to judge, unless it is an object, whose model a token may restrict.
  const isJudged = place.base.kind !== 'custom' || body[0] === 0x7b;
  return { body, isUnpacked, fields: isJudged ? readRequestFields(body) : null, form: null };
}

/** The bytes of an upload that is resumed are read by nobody, whatever their client calls their type: Google's SDK says JSON. */
function kindOf(request: IncomingMessage, place: Place): BodyKind {
  const kind = bodyKind(request);
  return kind !== 'none' && isGoogle(place) && isUploadedPart(request, place) ? 'opaque' : kind;
}

/** Gemini names the model in the path, before its verb: `/v1beta/models/gemini-2.5-flash:generateContent`, `/v1beta/tunedModels/mine:…`. */
export function modelInPath(place: Place): string | null {
  // Read as Google's router does, or `%6Dodels` would hide a model from the token's list. No new slash comes of it: readPlace refuses `%2f`,
  // and has seen that every `%` stands before two hex digits; what they make need not be UTF-8.
  const [, collection, name] = /\/(models|[a-z]+Models)\/([^/]+)/.exec(unescaped(place.rest)) ?? [];
  if (collection === undefined || name === undefined) return null;
  const model = name.split(':')[0] as string;
  return collection === 'models' ? model : `${collection}/${model}`;
}

/**
 * Tools may run a model of their own: OpenAI's `image_generation`, Anthropic's advisor.
 *
 * @throws {SallyportError} REQUEST_INVALID: twice, or not to be read.
 */
function modelsInTools(body: Buffer): readonly string[] {
  const span = readTopLevel(body, ['tools']).values['tools'];
  const models = span === undefined ? [] : modelsInMessage(body.subarray(span.start, span.end));
  if (models !== null) return models;
  throw new SallyportError('REQUEST_INVALID', 'The models of "tools" cannot be read.');
}

function unescaped(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    throw new SallyportError('REQUEST_INVALID', 'The name of the model in the path is not UTF-8.');
  }
}

function isGoogle({ base }: Place): boolean {
  return base.kind === 'native' && base.provider === 'google';
}

function isEncoded({ headers }: IncomingMessage): boolean {
  return (headers['content-encoding'] ?? 'identity') !== 'identity';
}

/** On /v1 the body's model decides who answers, and who pays: what hides it must not go to whoever answers by default. */
function refuseUnreadable(request: IncomingMessage): void {
  if (request.headers['content-encoding'] !== undefined) {
    throw new SallyportError(
      'REQUEST_INVALID',
      'On /v1 the model is read from the body: send it without content-encoding.',
    );
  }
  // What curl calls the body of `-d` where no header is given; no endpoint of this dialect takes a form of that kind.
  if (/^(?:application\/x-www-form-urlencoded|text\/plain)\b/i.test(request.headers['content-type'] ?? '')) {
    throw new SallyportError('REQUEST_INVALID', 'The body is not said to be JSON.', {
      fix: 'Send the header content-type: application/json.',
    });
  }
}

/**
 * A client that asks for a WebSocket can do with nothing else. One that asks as HTTP would have it never comes here (routes/realtime.ts);
 * other protocols on offer (`h2c`) are the server's to pass over.
 */
function refuseHalfUpgrade(request: IncomingMessage): void {
  if (request.headers.upgrade?.toLowerCase().includes('websocket')) {
    throw new SallyportError(
      'REQUEST_INVALID',
      'A WebSocket is asked for with `connection: Upgrade` beside `upgrade`, and without a body.',
    );
  }
}
