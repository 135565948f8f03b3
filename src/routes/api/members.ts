import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Members } from '../../admin/members.ts';
import { answers, listOf, paging, Params, strict } from './shapes.ts';

const roles = ['owner', 'admin', 'member', 'viewer', 'auditor'] as const;
const RoleShape = Type.Enum(roles);

export const MemberShape = Type.Object({
  userId: Type.String(),
  name: Type.String(),
  role: RoleShape,
  createdAt: Type.String(),
});

const Removed = Type.Object({ userId: Type.String(), deleted: Type.Literal(true), receipt: Type.String() });

/** `:id` is the user's. */
export function memberRoutes({ members }: { readonly members: Members }): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.get(
      '/',
      {
        config: { needs: 'users:read' },
        schema: { querystring: strict(paging), response: answers(200, listOf(MemberShape)) },
      },
      (request) => members.list(request.caller, request.query),
    );
    app.get(
      '/:id',
      { config: { needs: 'users:read' }, schema: { params: Params, response: answers(200, MemberShape) } },
      (request) => members.get(request.caller, request.params.id),
    );
    for (const method of ['PUT', 'PATCH'] as const) {
      app.route({
        method,
        url: '/:id',
        config: { needs: 'users:write' },
        schema: { params: Params, body: strict({ role: RoleShape }), response: answers(200, MemberShape) },
        handler: (request) => members.setRole(request.caller, request.params.id, request.body.role),
      });
    }
    app.delete(
      '/:id',
      { config: { needs: 'users:write' }, schema: { params: Params, response: answers(200, Removed) } },
      (request) => members.remove(request.caller, request.params.id),
    );
  };
}
