import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Audit } from '../../admin/audit.ts';
import { answers, Id, listOf, maybe, paging, period, strict, Word } from './shapes.ts';

export const AuditShape = Type.Object({
  stream: Type.String(),
  seq: Type.Integer({ minimum: 0 }),
  at: Type.String(),
  event: Type.String(),
  actor: Type.Object({ type: Type.String(), id: Type.String() }),
  callId: maybe(Type.String()),
  keyId: maybe(Type.String()),
  tokenId: maybe(Type.String()),
  provider: maybe(Type.String()),
  outcome: maybe(Type.String()),
  hash: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  record: Type.Object({}),
});

const Query = strict({
  ...period,
  ...paging,
  event: Type.Optional(Word),
  keyId: Type.Optional(Id),
  tokenId: Type.Optional(Id),
  callId: Type.Optional(Id),
  userId: Type.Optional(Id),
});

export function auditRoutes({ audit }: { readonly audit: Audit }): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.get(
      '/',
      {
        config: { needs: 'audit:read' },
        schema: { querystring: Query, response: answers(200, listOf(AuditShape)) },
      },
      (request) => audit.list(request.caller, request.query),
    );
  };
}
