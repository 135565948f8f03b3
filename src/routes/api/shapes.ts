import { type TSchema, Type } from 'typebox';
import { pageLimits } from '../../admin/paging.ts';

/**
 * The parts that the schemas of several resources share. Every string has a bound, and no text of a person holds control characters; nor
 * a token or the secret of a seal, which would be kept and shown where somebody pasted it in the place of a name.
 */
const noSecret = '(?![\\s\\S]*sp[ast]_[A-Za-z0-9_-]{40})';
const printable = `^${noSecret}[^\\u0000-\\u001f\\u007f]*$`;

export const Name = Type.String({ minLength: 1, maxLength: 200, pattern: printable });
export const Text = Type.String({
  maxLength: 2000,
  pattern: `^${noSecret}[^\\u0000-\\u0008\\u000b-\\u001f\\u007f]*$`,
});
export const momentPattern = '^[0-9TZ:.+-]+$';
/** RFC 3339; what it means is checked behind the schema. */
export const Moment = Type.String({ minLength: 10, maxLength: 40, pattern: momentPattern });
export const Id = Type.String({ minLength: 1, maxLength: 64, pattern: '^[\\x21-\\x7e]+$' });
export const Word = Type.String({ minLength: 1, maxLength: 64, pattern: '^[\\x21-\\x7e]+$' });
export const Count = Type.Integer({ minimum: 0 });

export const Params = Type.Object({ id: Type.String({ maxLength: 200 }) });

export function maybe<T extends TSchema>(schema: T) {
  return Type.Union([schema, Type.Null()]);
}

/** An object of which no unknown member is ignored. */
export function strict<T extends Record<string, TSchema>>(members: T) {
  return Type.Object(members, { additionalProperties: false });
}

export function listOf<T extends TSchema>(schema: T) {
  return Type.Object({ data: Type.Array(schema), nextCursor: maybe(Type.String()) });
}

export const paging = {
  limit: Type.Optional(Type.Integer({ minimum: pageLimits.least, maximum: pageLimits.most })),
  cursor: Type.Optional(
    Type.String({ minLength: 1, maxLength: pageLimits.cursorLength, pattern: '^[A-Za-z0-9_-]+$' }),
  ),
};

export const period = { from: Type.Optional(Moment), to: Type.Optional(Moment) };

export const Deleted = Type.Object({
  id: Type.String(),
  deleted: Type.Literal(true),
  receipt: Type.String(),
});

export const ProblemShape = Type.Object({
  type: Type.String(),
  title: Type.String(),
  status: Type.Integer(),
  code: Type.String(),
  detail: Type.String(),
  fix: Type.String(),
  requestId: Type.String(),
  errors: Type.Array(Type.Object({ path: Type.String(), message: Type.String() })),
});

/** The answers of a route: its own, and the problem that any may be. */
export function answers(status: 200 | 201, schema: TSchema): Record<string, TSchema> {
  return { [status]: schema, '4XX': ProblemShape, '5XX': ProblemShape };
}
