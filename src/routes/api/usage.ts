import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { CallView } from '../../admin/call-view.ts';
import type { Recost } from '../../admin/recost.ts';
import type { UsageGroup, UsageReports } from '../../admin/usage.ts';
import { type Column, exportFormat, sendExport } from './export.ts';
import { answers, listOf, Params } from './shapes.ts';
import {
  CallAttemptsShape,
  CallShape,
  CallsQuery,
  RecostBody,
  RecostedShape,
  SumsShape,
  UsageQuery,
  UsageShape,
} from './usage-shapes.ts';

const groupColumns = ['bucket', 'group', ...Object.keys(SumsShape.properties)].map(
  (name): Column<UsageGroup> => [name, (row) => row[name as keyof UsageGroup]],
);
const callColumns = Object.keys(CallShape.properties).map((name): Column<CallView> => [
  name,
  (row) => row[name as keyof CallView],
]);

export function usageRoutes({
  usage,
  recost,
}: {
  readonly usage: UsageReports;
  readonly recost: Recost;
}): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.get(
      '/',
      {
        config: { needs: 'usage:read' },
        schema: { querystring: UsageQuery, response: answers(200, UsageShape) },
      },
      async ({ caller, headers, query: { format, ...query } }, reply) => {
        const wanted = exportFormat({ format }, headers.accept);
        if (wanted === null) return usage.sums(caller, query);
        return sendExport(
          reply,
          'usage',
          wanted,
          await usage.exportSums(caller, query, wanted),
          groupColumns,
        );
      },
    );
    app.get(
      '/calls',
      {
        config: { needs: 'usage:read' },
        schema: { querystring: CallsQuery, response: answers(200, listOf(CallShape)) },
      },
      async ({ caller, headers, query: { format, ...query } }, reply) => {
        const wanted = exportFormat({ ...query, format }, headers.accept);
        if (wanted === null) return usage.calls(caller, query);
        return sendExport(
          reply,
          'calls',
          wanted,
          await usage.exportCalls(caller, query, wanted),
          callColumns,
        );
      },
    );
    // The operator alone: no role of a workspace gives this right.
    app.post(
      '/recost',
      { config: { needs: null }, schema: { body: RecostBody, response: answers(200, RecostedShape) } },
      (request) => recost.goOn(request.caller, request.body),
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
