import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Reproject } from '../../admin/reproject.ts';
import { answers, Count, maybe, strict } from './shapes.ts';

const Cursor = Type.String({ minLength: 1, maxLength: 1000, pattern: '^[A-Za-z0-9_-]+$' });

const ReprojectedShape = Type.Object({
  cursor: maybe(Type.String()),
  looked: Count,
  differences: Type.Array(Type.Object({ table: Type.String() })),
});

/** No role of a workspace gives this right: the operator alone has it. */
export function journalRoutes({ reproject }: { readonly reproject: Reproject }): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.post(
      '/reproject',
      {
        config: { needs: null },
        schema: {
          body: strict({ cursor: Type.Optional(maybe(Cursor)), dryRun: Type.Optional(Type.Boolean()) }),
          response: answers(200, ReprojectedShape),
        },
      },
      (request) => reproject.goOn(request.caller, request.body),
    );
  };
}
