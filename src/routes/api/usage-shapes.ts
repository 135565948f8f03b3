import { Type } from 'typebox';
import { buckets, groupings, priceChoices } from '../../admin/usage-sums.ts';
import { Format } from './export.ts';
import { Count, Id, maybe, Moment, paging, period, strict, Word } from './shapes.ts';

export const SumsShape = Type.Object({
  calls: Count,
  attempts: Count,
  failed: Count,
  inputTokens: Count,
  cachedInputTokens: Count,
  cacheWriteInputTokens: Count,
  outputTokens: Count,
  reasoningTokens: Count,
  unknownUsageCalls: Count,
  costNanoUsd: maybe(Type.String({ pattern: '^\\d+$' })),
  unknownCostCalls: Count,
});

const filter = {
  ...period,
  keyId: Type.Optional(Id),
  tokenId: Type.Optional(Id),
  userId: Type.Optional(Id),
  provider: Type.Optional(Word),
  model: Type.Optional(Type.String({ minLength: 1, maxLength: 200, pattern: '^[\\x21-\\x7e]+$' })),
  tag: Type.Optional(Word),
  format: Format,
};

export const UsageQuery = strict({
  ...filter,
  groupBy: Type.Optional(Type.Enum(groupings)),
  bucket: Type.Optional(Type.Enum(buckets)),
  prices: Type.Optional(Type.Enum(priceChoices)),
});

export const UsageShape = Type.Object({
  from: Type.String(),
  to: Type.String(),
  groupBy: Type.String(),
  data: Type.Array(
    Type.Intersect([Type.Object({ bucket: maybe(Type.String()), group: maybe(Type.String()) }), SumsShape]),
  ),
  totals: SumsShape,
  isCut: Type.Boolean(),
  prices: Type.String(),
  versions: Type.Array(
    Type.Object({
      version: maybe(Type.String()),
      attempts: Count,
      costNanoUsd: maybe(Type.String()),
      recordedNanoUsd: maybe(Type.String()),
      differenceNanoUsd: maybe(Type.String()),
    }),
  ),
});

export const CallsQuery = strict({ ...filter, ...paging, outcome: Type.Optional(Word) });

export const CallShape = Type.Object({
  id: Type.String(),
  attempt: Type.Integer({ minimum: 1 }),
  final: Type.Boolean(),
  startedAt: Type.String(),
  endedAt: Type.String(),
  tokenId: maybe(Type.String()),
  userId: maybe(Type.String()),
  keyId: maybe(Type.String()),
  keyVersion: maybe(Type.Integer()),
  keySource: maybe(Type.String()),
  keyFingerprint: maybe(Type.String()),
  provider: Type.String(),
  model: maybe(Type.String()),
  operation: Type.String(),
  stream: Type.Boolean(),
  status: maybe(Type.Integer()),
  outcome: Type.String(),
  endReason: Type.String(),
  inputTokens: maybe(Count),
  cachedInputTokens: maybe(Count),
  cacheWriteInputTokens: maybe(Count),
  outputTokens: maybe(Count),
  reasoningTokens: maybe(Count),
  usageSource: Type.String(),
  providerUsage: maybe(Type.Object({})),
  costNanoUsd: maybe(Type.String()),
  priceVersion: maybe(Type.String()),
  requestBytes: Count,
  responseBytes: Count,
  firstByteMs: maybe(Count),
  totalMs: Count,
  upstreamRequestId: maybe(Type.String()),
  receipt: Type.String(),
});

export const CallAttemptsShape = Type.Object({ id: Type.String(), attempts: Type.Array(CallShape) });

export const RecostBody = strict({
  from: Moment,
  to: Type.Optional(Moment),
  dryRun: Type.Optional(Type.Boolean()),
  cursor: paging.cursor,
});

export const RecostedShape = Type.Object({
  cursor: maybe(Type.String()),
  looked: Count,
  priced: Count,
  newlyPriced: Count,
  recordedNanoUsd: Type.String(),
  computedNanoUsd: Type.String(),
  differenceNanoUsd: Type.String(),
  versions: Type.Array(Type.String()),
});
