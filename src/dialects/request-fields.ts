import { SallyportError } from '../errors.ts';
import { type Edit, readTopLevel, type Span } from './top-level.ts';

/** What the gateway reads of a JSON request; the rest is forwarded as it is. */
export interface RequestFields {
  readonly model: string | null;
  /** `stream` is exactly true. */
  readonly isStream: boolean;
  /** `max_tokens`, `max_completion_tokens` or `max_output_tokens`, the largest of them. */
  readonly maxOutputTokens: number | null;
  /** `stream_options.include_usage` is exactly true. */
  readonly asksStreamUsage: boolean;
  readonly spans: {
    readonly model: Span | null;
    readonly streamOptions: Span | null;
    /** Of `include_usage` in the body, not in its parent. */
    readonly includeUsage: Span | null;
  };
  readonly open: number;
  readonly isEmpty: boolean;
}

/** Model names are tens of characters; a thousand bytes leave room for escapes and fine-tunes. */
const maxModelBytes = 1024;
const outputLimits = ['max_tokens', 'max_completion_tokens', 'max_output_tokens'] as const;
const wanted = ['model', 'stream', 'stream_options', ...outputLimits] as const;

/** @throws {SallyportError} REQUEST_INVALID as `readTopLevel`, and for a model that is no text or longer than 1 KiB. */
export function readRequestFields(body: Buffer): RequestFields {
  const { values, open, isEmpty } = readTopLevel(body, wanted);
  const streamOptions = values['stream_options'] ?? null;
  const includeUsage = streamOptions === null ? null : includeUsageOf(body, streamOptions);
  const limits = outputLimits
    .map((name) => numberAt(body, values[name]))
    .filter((limit): limit is number => limit !== null);
  return {
    model: modelAt(body, values['model']),
    isStream: isTrue(body, values['stream'] ?? null),
    maxOutputTokens: limits.length === 0 ? null : Math.max(...limits),
    asksStreamUsage: isTrue(body, includeUsage),
    spans: { model: values['model'] ?? null, streamOptions, includeUsage },
    open,
    isEmpty,
  };
}

/** Another model name in the place of the one that was sent. The body must have one. */
export function renameModel(fields: RequestFields, model: string): Edit {
  const span = fields.spans.model;
  if (span === null) throw new SallyportError('REQUEST_INVALID', 'The body names no model.');
  return { ...span, bytes: Buffer.from(JSON.stringify(model)) };
}

/**
 * Asks for usage at the end of a stream (`stream_options.include_usage`), keeping other options of the client.
 * Null when he asked for it himself, or sent something that is no object: the provider's complaint is his then.
 */
export function askStreamUsage(body: Buffer, fields: RequestFields): Edit | null {
  const { streamOptions, includeUsage } = fields.spans;
  if (fields.asksStreamUsage) return null;
  if (includeUsage !== null) return { ...includeUsage, bytes: Buffer.from('true') };
  if (streamOptions === null) {
    const option = `"stream_options":{"include_usage":true}${fields.isEmpty ? '' : ','}`;
    return { start: fields.open + 1, end: fields.open + 1, bytes: Buffer.from(option) };
  }
  const first = body[streamOptions.start];
  if (first === 0x6e) return { ...streamOptions, bytes: Buffer.from('{"include_usage":true}') };
  if (first !== 0x7b) return null;
  const { isEmpty } = readTopLevel(body.subarray(streamOptions.start, streamOptions.end), []);
  const at = streamOptions.start + 1;
  return { start: at, end: at, bytes: Buffer.from(`"include_usage":true${isEmpty ? '' : ','}`) };
}

function includeUsageOf(body: Buffer, options: Span): Span | null {
  if (body[options.start] !== 0x7b) return null;
  const span = readTopLevel(body.subarray(options.start, options.end), ['include_usage']).values[
    'include_usage'
  ];
  return span === undefined ? null : { start: options.start + span.start, end: options.start + span.end };
}

function modelAt(body: Buffer, span: Span | undefined): string | null {
  if (span === undefined) return null;
  if (body[span.start] !== 0x22)
    throw new SallyportError('REQUEST_INVALID', 'The field "model" is not a text.');
  if (span.end - span.start > maxModelBytes) {
    throw new SallyportError('REQUEST_INVALID', `The field "model" is longer than ${maxModelBytes} bytes.`);
  }
  return JSON.parse(body.toString('utf8', span.start, span.end)) as string;
}

function isTrue(body: Buffer, span: Span | null): boolean {
  return span !== null && body[span.start] === 0x74;
}

function numberAt(body: Buffer, span: Span | undefined): number | null {
  if (span === undefined || span.end - span.start > 20) return null;
  const value = Number(body.toString('latin1', span.start, span.end));
  return Number.isSafeInteger(value) && value >= 0 ? value : null;
}
