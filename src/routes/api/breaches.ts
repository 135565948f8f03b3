import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Breaches } from '../../admin/breaches.ts';
import { answers, Count, Id, listOf, maybe, Moment, Name, paging, Params, strict, Text } from './shapes.ts';

const NoteId = Type.String({ minLength: 1, maxLength: 64, pattern: '^[\\w.:#/-]+$' });

export const BreachShape = Type.Object({
  id: Type.String(),
  discoveredAt: Type.String(),
  dueAt: Type.String(),
  noteId: maybe(Type.String()),
  notifiedAt: maybe(Type.String()),
  closedAt: maybe(Type.String()),
});

export const NotifiedShape = Type.Object({
  breach: BreachShape,
  users: Type.Array(
    Type.Object({
      userId: Type.String(),
      workspaceId: Type.String(),
      keyIds: Type.Array(Type.String()),
      channel: maybe(Type.String()),
      state: Type.String(),
      code: maybe(Type.String()),
      message: maybe(Type.Object({ subject: Type.String(), text: Type.String() })),
    }),
  ),
  affected: Count,
  cursor: maybe(Type.String()),
});

/** No role of a workspace gives these rights: the operator alone has them. */
export function breachRoutes({ breaches }: { readonly breaches: Breaches }): FastifyPluginAsyncTypebox {
  return async function (app) {
    const config = { needs: null };
    app.post(
      '/',
      {
        config,
        schema: {
          body: strict({ discoveredAt: Type.Optional(Moment), noteId: Type.Optional(NoteId) }),
          response: answers(201, BreachShape),
        },
      },
      async (request, reply) => reply.code(201).send(await breaches.open(request.caller, request.body)),
    );
    app.get(
      '/',
      { config, schema: { querystring: strict(paging), response: answers(200, listOf(BreachShape)) } },
      (request) => breaches.list(request.caller, request.query),
    );
    app.post(
      '/:id/notify',
      {
        config,
        schema: {
          params: Params,
          body: strict({
            since: Moment,
            until: Type.Optional(Moment),
            keyIds: Type.Optional(Type.Array(Id, { minItems: 1, maxItems: 1000 })),
            all: Type.Optional(Type.Boolean()),
            what: Type.Optional(Text),
            contact: Name,
            dryRun: Type.Optional(Type.Boolean()),
            cursor: Type.Optional(Id),
          }),
          response: answers(200, NotifiedShape),
        },
      },
      (request) => breaches.notify(request.caller, request.params.id, request.body),
    );
    app.post(
      '/:id/close',
      { config, schema: { params: Params, response: answers(200, BreachShape) } },
      (request) => breaches.close(request.caller, request.params.id),
    );
  };
}
