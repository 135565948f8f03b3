import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Users } from '../../admin/users.ts';
import type { PersonExport } from '../../admin/person-export.ts';
import { idempotencyKeyOf } from './conditions.ts';
import { sendExport } from './export.ts';
import { answers, Deleted, listOf, maybe, Name, paging, Params, strict } from './shapes.ts';
import { DryRun, shredding, storing } from './storing-shapes.ts';

export const UserShape = Type.Object({
  id: Type.String(),
  name: Type.String(),
  externalId: maybe(Type.String()),
  email: maybe(Type.String()),
  storeKeys: Type.Boolean(),
  createdAt: Type.String(),
});

export const ChangedUserShape = Type.Object({ ...UserShape.properties, ...shredding });

const Email = Type.String({
  minLength: 3,
  maxLength: 254,
  pattern: '^[^\\s@\\u0000-\\u001f]+@[^\\s@\\u0000-\\u001f]+$',
});
const optional = { externalId: Type.Optional(maybe(Name)), email: Type.Optional(maybe(Email)) };

const Body = strict({ name: Name, ...optional });
const Change = strict({ name: Type.Optional(Name), ...optional, ...storing });

const Query = strict({ ...paging, externalId: Type.Optional(Name) });

const PersonPartShape = Type.Object({ kind: Type.String(), data: Type.Object({}) });

export function userRoutes({
  users,
  exportPerson,
}: {
  readonly users: Users;
  readonly exportPerson: PersonExport;
}): FastifyPluginAsyncTypebox {
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
    app.get(
      '/:id/export',
      {
        config: { needs: 'users:read' },
        schema: { params: Params, response: answers(200, PersonPartShape) },
      },
      async (request, reply) =>
        sendExport(reply, 'person', 'jsonl', await exportPerson(request.caller, request.params.id), []),
    );
    app.patch(
      '/:id',
      {
        // Everybody has a preference of his own; the service looks at the rest.
        config: { needs: 'users:read' },
        schema: {
          params: Params,
          querystring: DryRun,
          body: Change,
          response: answers(200, ChangedUserShape),
        },
      },
      (request) => users.update(request.caller, request.params.id, request.body, request.query.dryRun),
    );
    app.delete(
      '/:id',
      { config: { needs: 'users:write' }, schema: { params: Params, response: answers(200, Deleted) } },
      (request) => users.erase(request.caller, request.params.id),
    );
  };
}
