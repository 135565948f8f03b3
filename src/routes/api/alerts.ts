import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { alertRules } from '../../admin/alert-rules.ts';
import type { Alerts } from '../../admin/alerts.ts';
import { answers, Count, Id, listOf, maybe, paging, Params, period, strict } from './shapes.ts';

const Rule = Type.Union(alertRules.map((rule) => Type.Literal(rule)));

export const AlertShape = Type.Object({
  id: Type.String(),
  rule: Type.String(),
  keyId: maybe(Type.String()),
  tokenId: maybe(Type.String()),
  userId: Type.String(),
  explanation: Type.String(),
  numbers: Type.Object({}),
  firstAt: Type.String(),
  lastAt: Type.String(),
  count: Count,
  acknowledgedAt: maybe(Type.String()),
  acknowledgedBy: maybe(Type.String()),
});

const Query = strict({
  ...period,
  ...paging,
  rule: Type.Optional(Rule),
  keyId: Type.Optional(Id),
  tokenId: Type.Optional(Id),
  userId: Type.Optional(Id),
  acknowledged: Type.Optional(Type.Boolean()),
});

export function alertRoutes({ alerts }: { readonly alerts: Alerts }): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.get(
      '/',
      {
        config: { needs: 'alerts:read' },
        schema: { querystring: Query, response: answers(200, listOf(AlertShape)) },
      },
      (request) => alerts.list(request.caller, request.query),
    );
    app.post(
      '/:id/acknowledge',
      {
        config: { needs: 'alerts:write' },
        schema: { params: Params, response: answers(200, AlertShape) },
      },
      (request) => alerts.acknowledge(request.caller, request.params.id),
    );
  };
}
