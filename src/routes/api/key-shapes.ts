import { Type } from 'typebox';
import { Count, Id, maybe, Moment, Name, paging, period, strict, Text, Word } from './shapes.ts';
import { SumsShape } from './usage-shapes.ts';

export const Sharing = Type.Union([
  Type.Literal('workspace'),
  Type.Array(Id, { maxItems: 200, uniqueItems: true }),
  Type.Null(),
]);

export const TestShape = Type.Object({
  keyId: Type.String(),
  ok: Type.Boolean(),
  status: maybe(Type.Integer()),
  code: maybe(Type.String()),
  ms: Count,
  message: maybe(Type.String()),
  testedAt: Type.String(),
});

export const KeyShape = Type.Object({
  id: Type.String(),
  name: Type.String(),
  provider: Type.String(),
  service: Type.String(),
  description: maybe(Type.String()),
  userId: Type.String(),
  sharedWith: Sharing,
  source: Type.Enum(['own', 'shared', 'managed']),
  protection: Type.Enum(['standard', 'sealed']),
  sealId: maybe(Type.String()),
  auth: Type.String(),
  origins: Type.Array(Type.String()),
  basePath: Type.String(),
  version: Type.Integer({ minimum: 1 }),
  last4: maybe(Type.String()),
  fingerprint: maybe(Type.String({ pattern: '^[0-9a-f]{16}$' })),
  isActive: Type.Boolean(),
  status: Type.Enum(['active', 'disabled', 'expired', 'auth_failed']),
  expiresAt: maybe(Type.String()),
  lastUsedAt: maybe(Type.String()),
  lastTest: maybe(TestShape),
  purpose: Type.Enum(['relay', 'usage']),
  weight: Type.Integer({ minimum: 0, maximum: 1000 }),
  streamUsage: Type.Boolean(),
  rotateAfterDays: maybe(Type.Integer({ minimum: 1 })),
  rotationDueAt: maybe(Type.String()),
  duplicates: Type.Array(Type.String()),
  createdAt: Type.String(),
  updatedAt: Type.String(),
});

/** A value sealed to the intake key: `ik_…`, a point, base64url. 8192 bytes take 11 KB. */
const SealedValue = Type.String({
  minLength: 100,
  maxLength: 16_384,
  pattern: '^ik_[0-9a-f]{32}\\.[A-Za-z0-9_-]+$',
  writeOnly: true,
});
/** A payload that a client sealed: 8192 bytes of a key, each escaped, and 16 origins take 22 KB. */
const SealedPayload = Type.String({
  minLength: 64,
  maxLength: 49_152,
  pattern: '^[A-Za-z0-9+/_-]+={0,2}$',
  writeOnly: true,
});
const content = {
  sealedValue: Type.Optional(SealedValue),
  sealedPayload: Type.Optional(SealedPayload),
  protection: Type.Optional(Type.Enum(['standard', 'sealed'])),
  sealId: Type.Optional(maybe(Id)),
};

/** How several keys share the load, and what may be spliced in. */
const carrying = {
  weight: Type.Optional(Type.Integer({ minimum: 0, maximum: 1000 })),
  streamUsage: Type.Optional(Type.Boolean()),
};
const RotateAfterDays = Type.Integer({ minimum: 1, maximum: 3650 });

/** The members of a new key but its value, which is cut out of the body as bytes before any schema sees it. */
export const NewKeyShape = strict({
  name: Name,
  provider: Type.Optional(Word),
  service: Type.Optional(Word),
  description: Type.Optional(maybe(Text)),
  expiresAt: Type.Optional(maybe(Moment)),
  userId: Type.Optional(Id),
  sharedWith: Type.Optional(Sharing),
  origins: Type.Optional(Type.Array(Type.String({ minLength: 8, maxLength: 300 }), { maxItems: 8 })),
  basePath: Type.Optional(Type.String({ maxLength: 300 })),
  auth: Type.Optional(Type.String({ minLength: 1, maxLength: 80 })),
  ...content,
  ...carrying,
  rotateAfterDays: Type.Optional(maybe(RotateAfterDays)),
  force: Type.Optional(Type.Boolean()),
});

export const KeyChangeShape = strict({
  name: Type.Optional(Name),
  description: Type.Optional(maybe(Text)),
  isActive: Type.Optional(Type.Boolean()),
  expiresAt: Type.Optional(maybe(Moment)),
  sharedWith: Type.Optional(Sharing),
  ...content,
  ...carrying,
  rotateAfterDays: Type.Optional(maybe(RotateAfterDays)),
  force: Type.Optional(Type.Boolean()),
});

/** Only for the documents: what a client may send besides. */
export const ValueShape = Type.String({
  minLength: 8,
  maxLength: 8192,
  writeOnly: true,
  description: 'The provider key: printable ASCII without white space. Never returned.',
});

export const KeyQuery = strict({
  ...paging,
  provider: Type.Optional(Word),
  userId: Type.Optional(Id),
  expiringWithin: Type.Optional(Type.Integer({ minimum: 0, maximum: 3650 })),
  rotationDue: Type.Optional(Type.Boolean()),
  /** Refused with VALUE_NEVER_RETURNED before this is looked at; `false` is what everybody gets. */
  includeValue: Type.Optional(Type.Boolean()),
});

export const OneKeyQuery = strict({ includeValue: Type.Optional(Type.Boolean()) });
export const StatsQuery = strict(period);
export const TestBody = strict({ keyId: Id });

export const StatsShape = Type.Object({
  from: Type.String(),
  to: Type.String(),
  data: Type.Array(
    Type.Intersect([
      Type.Object({
        keyId: Type.String(),
        name: Type.String(),
        provider: Type.String(),
        lastUsedAt: maybe(Type.String()),
      }),
      SumsShape,
    ]),
  ),
  totals: SumsShape,
});

/** What to look for; a value is cut out of the body before. */
export const FindBody = strict({
  provider: Type.Optional(Word),
  sealedValue: Type.Optional(SealedValue),
  fingerprint: Type.Optional(Type.String({ pattern: '^[0-9a-f]{16}$' })),
});

export const FindShape = Type.Object({
  fingerprint: Type.String({ pattern: '^[0-9a-f]{16}$' }),
  keys: Type.Array(KeyShape),
  uses: Type.Array(
    Type.Object({
      keyId: maybe(Type.String()),
      keyVersion: maybe(Type.Integer({ minimum: 1 })),
      keySource: maybe(Type.String()),
      tokenId: maybe(Type.String()),
      userId: maybe(Type.String()),
      provider: Type.String(),
      calls: Count,
      firstUsedAt: Type.String(),
      lastUsedAt: Type.String(),
    }),
  ),
});

/** One key of the operator's environment. */
export const ImportBody = strict({ provider: Word, sealedValue: Type.Optional(SealedValue) });
export const ImportedShape = Type.Object({
  id: Type.String(),
  provider: Type.String(),
  imported: Type.Boolean(),
});
