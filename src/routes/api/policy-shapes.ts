import { Type } from 'typebox';
import { maybe, strict, Word } from './shapes.ts';

const Model = Type.String({ minLength: 1, maxLength: 256, pattern: '^[\\x21-\\x7e]+$' });
const MaxAttempts = Type.Integer({ minimum: 1, maximum: 10 });
const Drain = {
  type: Type.Literal('drain'),
  maxSeconds: Type.Integer({ minimum: 1, maximum: 600 }),
  maxBytes: Type.Integer({ minimum: 1, maximum: 100_000_000 }),
};
const Abort = { type: Type.Literal('abort') };

/** ms. What has no end by itself has one here; `totalMs` 0: none. */
const timeouts = {
  connectMs: maybe(Type.Integer({ minimum: 1, maximum: 60_000 })),
  firstByteMs: maybe(Type.Integer({ minimum: 1, maximum: 3_600_000 })),
  betweenBytesMs: maybe(Type.Integer({ minimum: 1, maximum: 3_600_000 })),
  totalMs: maybe(Type.Integer({ minimum: 0, maximum: 86_400_000 })),
  writeIdleMs: maybe(Type.Integer({ minimum: 1, maximum: 3_600_000 })),
};

/** As it is kept: whole. */
export const PolicyShape = Type.Object({
  fallbackModels: Type.Array(Type.String()),
  maxAttempts: MaxAttempts,
  retryStale: Type.Boolean(),
  timeouts: Type.Object(timeouts),
  onDisconnect: Type.Union([Type.Object(Abort), Type.Object(Drain)]),
});

/** As it is sent: what is left out is as for every token. */
export const SentPolicyShape = strict({
  fallbackModels: Type.Optional(Type.Array(Model, { maxItems: 8, uniqueItems: true })),
  maxAttempts: Type.Optional(MaxAttempts),
  retryStale: Type.Optional(Type.Boolean()),
  timeouts: Type.Optional(
    strict({
      connectMs: Type.Optional(timeouts.connectMs),
      firstByteMs: Type.Optional(timeouts.firstByteMs),
      betweenBytesMs: Type.Optional(timeouts.betweenBytesMs),
      totalMs: Type.Optional(timeouts.totalMs),
      writeIdleMs: Type.Optional(timeouts.writeIdleMs),
    }),
  ),
  onDisconnect: Type.Optional(
    Type.Union([
      strict(Abort),
      strict({
        type: Drain.type,
        maxSeconds: Type.Optional(Drain.maxSeconds),
        maxBytes: Type.Optional(Drain.maxBytes),
      }),
    ]),
  ),
});

/** Operations by name or with `*`: `openai.chat`, `google.*`. */
export const Endpoints = Type.Array(Type.String({ minLength: 1, maxLength: 64, pattern: '^[a-z0-9_.*]+$' }), {
  maxItems: 100,
  uniqueItems: true,
});
export const Networks = Type.Array(Type.String({ minLength: 2, maxLength: 49 }), {
  maxItems: 100,
  uniqueItems: true,
});
export const Tags = Type.Array(Word, { maxItems: 16, uniqueItems: true });
