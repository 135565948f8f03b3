import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Tokens } from '../../admin/tokens.ts';
import { idempotencyKeyOf } from './conditions.ts';
import { Endpoints, Networks, PolicyShape, SentPolicyShape, Tags } from './policy-shapes.ts';
import { answers, Id, listOf, maybe, Moment, Name, paging, Params, strict, Word } from './shapes.ts';

const Kind = Type.Enum(['gateway', 'admin']);
const Status = Type.Enum(['active', 'revoked', 'expired']);
const Names = (maxLength: number) =>
  Type.Array(Type.String({ minLength: 1, maxLength, pattern: '^[\\x21-\\x7e]+$' }), {
    maxItems: 200,
    uniqueItems: true,
  });

const members = {
  id: Type.String(),
  name: Type.String(),
  kind: Kind,
  prefix: Type.String({ pattern: '^sp[ta]_[0-9A-Za-z]{12}$' }),
  userId: Type.String(),
  providers: maybe(Type.Array(Type.String())),
  models: maybe(Type.Array(Type.String())),
  keyIds: maybe(Type.Array(Type.String())),
  requestsPerMinute: Type.Integer(),
  concurrentCalls: Type.Integer(),
  endpoints: maybe(Type.Array(Type.String())),
  networks: maybe(Type.Array(Type.String())),
  tags: maybe(Type.Array(Type.String())),
  policy: PolicyShape,
  status: Status,
  expiresAt: maybe(Type.String()),
  lastUsedAt: maybe(Type.String()),
  createdAt: Type.String(),
  revokedAt: maybe(Type.String()),
};

export const TokenShape = Type.Object(members);
/** `token` is there once, and not in the answer to a repeated request. */
export const NewTokenShape = Type.Object({ ...members, token: Type.Optional(Type.String()) });

/** What may be said of a new token, and changed of one that is there. */
const grant = {
  expiresAt: Type.Optional(maybe(Moment)),
  providers: Type.Optional(maybe(Names(64))),
  models: Type.Optional(maybe(Names(256))),
  keyIds: Type.Optional(maybe(Names(64))),
  requestsPerMinute: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000 })),
  concurrentCalls: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000 })),
  endpoints: Type.Optional(maybe(Endpoints)),
  networks: Type.Optional(maybe(Networks)),
  tags: Type.Optional(maybe(Tags)),
  policy: Type.Optional(maybe(SentPolicyShape)),
};

const Body = strict({ name: Name, kind: Type.Optional(Kind), userId: Type.Optional(Id), ...grant });
const Change = strict({ name: Type.Optional(Name), ...grant });

const Query = strict({
  ...paging,
  userId: Type.Optional(Id),
  status: Type.Optional(Status),
  tag: Type.Optional(Word),
});

export function tokenRoutes({ tokens }: { readonly tokens: Tokens }): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.post(
      '/',
      { config: { needs: 'tokens:write' }, schema: { body: Body, response: answers(201, NewTokenShape) } },
      async (request, reply) => {
        const { token, text } = await tokens.create(request.caller, request.body, idempotencyKeyOf(request));
        void reply.code(201).header('location', `/api/tokens/${token.id}`);
        return text === null ? token : { ...token, token: text };
      },
    );
    app.get(
      '/',
      {
        config: { needs: 'tokens:read' },
        schema: { querystring: Query, response: answers(200, listOf(TokenShape)) },
      },
      (request) => tokens.list(request.caller, request.query),
    );
    app.get(
      '/:id',
      { config: { needs: 'tokens:read' }, schema: { params: Params, response: answers(200, TokenShape) } },
      (request) => tokens.get(request.caller, request.params.id),
    );
    app.patch(
      '/:id',
      {
        config: { needs: 'tokens:write' },
        schema: { params: Params, body: Change, response: answers(200, TokenShape) },
      },
      (request) => tokens.update(request.caller, request.params.id, request.body),
    );
    app.delete(
      '/:id',
      { config: { needs: 'tokens:write' }, schema: { params: Params, response: answers(200, TokenShape) } },
      (request) => tokens.revoke(request.caller, request.params.id),
    );
  };
}
