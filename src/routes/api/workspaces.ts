import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Workspaces } from '../../admin/workspaces.ts';
import { answers, listOf, Name, paging, strict } from './shapes.ts';
import { DryRun, shredding, storing } from './storing-shapes.ts';

export const WorkspaceShape = Type.Object({
  id: Type.String(),
  name: Type.String(),
  managedKeys: Type.Boolean(),
  storeKeys: Type.Boolean(),
  createdAt: Type.String(),
});

export const ChangedWorkspaceShape = Type.Object({ ...WorkspaceShape.properties, ...shredding });

export const NewWorkspaceShape = Type.Object({
  workspaceId: Type.String(),
  adminToken: Type.String(),
  token: Type.String(),
});

export function workspaceRoutes({
  workspaces,
}: {
  readonly workspaces: Workspaces;
}): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.post(
      '/',
      // No role of a workspace gives this right: the operator alone has it.
      {
        config: { needs: null },
        schema: { body: strict({ name: Name }), response: answers(201, NewWorkspaceShape) },
      },
      async (request, reply) => {
        const made = await workspaces.createWorkspace(request.caller, request.body);
        return reply.code(201).send(made);
      },
    );
    app.get(
      '/',
      {
        config: { needs: 'workspace:read' },
        schema: { querystring: strict(paging), response: answers(200, listOf(WorkspaceShape)) },
      },
      (request) => workspaces.list(request.caller, request.query),
    );
    app.get(
      '/current',
      { config: { needs: 'workspace:read' }, schema: { response: answers(200, WorkspaceShape) } },
      (request) => workspaces.current(request.caller),
    );
    app.patch(
      '/current',
      {
        config: { needs: 'workspace:write' },
        schema: {
          querystring: DryRun,
          body: strict({
            name: Type.Optional(Name),
            managedKeys: Type.Optional(Type.Boolean()),
            ...storing,
          }),
          response: answers(200, ChangedWorkspaceShape),
        },
      },
      (request) => workspaces.update(request.caller, request.body, request.query.dryRun),
    );
  };
}
