import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Keys } from '../../admin/keys.ts';
import { answers } from './shapes.ts';

const IntakeKeyShape = Type.Object({
  id: Type.String(),
  publicKey: Type.String(),
  suite: Type.String(),
  info: Type.String(),
  workspaceId: Type.String(),
  createdAt: Type.String(),
  expiresAt: Type.String(),
});

export function intakeKeyRoutes({
  keys,
}: {
  readonly keys: Pick<Keys, 'intakeKey'>;
}): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.get(
      '/',
      { config: { needs: 'usage:read' }, schema: { response: answers(200, IntakeKeyShape) } },
      (request) => keys.intakeKey(request.caller),
    );
  };
}
