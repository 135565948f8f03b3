import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Aliases } from '../../admin/aliases.ts';
import { idempotencyKeyOf } from './conditions.ts';
import { answers, Deleted, listOf, paging, Params, strict } from './shapes.ts';

/** A model's name as it stands in a call; never what was pasted in its place. */
const Model = Type.String({
  minLength: 1,
  maxLength: 256,
  pattern: '^(?!.*sp[ast]_[A-Za-z0-9_-]{40})[\\x21-\\x7e]+$',
});

export const AliasShape = Type.Object({
  id: Type.String(),
  alias: Type.String(),
  target: Type.String(),
  createdBy: Type.String(),
  createdAt: Type.String(),
});

export function aliasRoutes({ aliases }: { readonly aliases: Aliases }): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.post(
      '/',
      {
        config: { needs: 'workspace:write' },
        schema: { body: strict({ alias: Model, target: Model }), response: answers(201, AliasShape) },
      },
      async (request, reply) => {
        const alias = await aliases.create(request.caller, request.body, idempotencyKeyOf(request));
        return reply.code(201).send(alias);
      },
    );
    app.get(
      '/',
      {
        config: { needs: 'workspace:read' },
        schema: { querystring: strict(paging), response: answers(200, listOf(AliasShape)) },
      },
      (request) => aliases.list(request.caller, request.query),
    );
    app.delete(
      '/:id',
      { config: { needs: 'workspace:write' }, schema: { params: Params, response: answers(200, Deleted) } },
      (request) => aliases.remove(request.caller, request.params.id),
    );
  };
}
