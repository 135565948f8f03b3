import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { UsageReports } from '../../admin/usage.ts';
import { answers, listOf, Params } from './shapes.ts';
import { CallAttemptsShape, CallShape, CallsQuery, UsageQuery, UsageShape } from './usage-shapes.ts';

export function usageRoutes({ usage }: { readonly usage: UsageReports }): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.get(
      '/',
      {
        config: { needs: 'usage:read' },
        schema: { querystring: UsageQuery, response: answers(200, UsageShape) },
      },
      (request) => usage.sums(request.caller, request.query),
    );
    app.get(
      '/calls',
      {
        config: { needs: 'usage:read' },
        schema: { querystring: CallsQuery, response: answers(200, listOf(CallShape)) },
      },
      (request) => usage.calls(request.caller, request.query),
    );
    app.get(
      '/calls/:id',
      {
        config: { needs: 'usage:read' },
        schema: { params: Params, response: answers(200, CallAttemptsShape) },
      },
      (request) => usage.call(request.caller, request.params.id),
    );
  };
}
