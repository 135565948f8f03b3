import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Users } from '../../admin/users.ts';
import { idempotencyKeyOf } from './conditions.ts';
import { answers, Deleted, listOf, maybe, Name, paging, Params, strict } from './shapes.ts';

export const UserShape = Type.Object({
  id: Type.String(),
  name: Type.String(),
  externalId: maybe(Type.String()),
  email: maybe(Type.String()),
  createdAt: Type.String(),
});

const Body = strict({
  name: Name,
  externalId: Type.Optional(maybe(Name)),
  email: Type.Optional(
    maybe(
      Type.String({
        minLength: 3,
        maxLength: 254,
        pattern: '^[^\\s@\\u0000-\\u001f]+@[^\\s@\\u0000-\\u001f]+$',
      }),
    ),
  ),
});

const Query = strict({ ...paging, externalId: Type.Optional(Name) });

export function userRoutes({ users }: { readonly users: Users }): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.post(
      '/',
      { config: { needs: 'users:write' }, schema: { body: Body, response: answers(201, UserShape) } },
      async (request, reply) => {
        const user = await users.create(request.caller, request.body, idempotencyKeyOf(request));
        return reply.code(201).header('location', `/api/users/${user.id}`).send(user);
      },
    );
    app.get(
      '/',
      {
        config: { needs: 'users:read' },
        schema: { querystring: Query, response: answers(200, listOf(UserShape)) },
      },
      (request) => users.list(request.caller, request.query),
    );
    app.get(
      '/:id',
      { config: { needs: 'users:read' }, schema: { params: Params, response: answers(200, UserShape) } },
      (request) => users.get(request.caller, request.params.id),
    );
    app.delete(
      '/:id',
      { config: { needs: 'users:write' }, schema: { params: Params, response: answers(200, Deleted) } },
      (request) => users.remove(request.caller, request.params.id),
    );
  };
}
