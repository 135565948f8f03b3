import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { SigningKeys } from '../../admin/signing-keys.ts';
import { answers, listOf, maybe, strict } from './shapes.ts';

export const SigningKeyShape = Type.Object({
  id: Type.String(),
  verifier: Type.String(),
  isActive: Type.Boolean(),
  createdAt: Type.String(),
  retiredAt: maybe(Type.String()),
  introduction: Type.String(),
});

export function signingKeyRoutes({
  signingKeys,
}: {
  readonly signingKeys: SigningKeys;
}): FastifyPluginAsyncTypebox {
  return async function (app) {
    const response = answers(200, listOf(SigningKeyShape));
    app.get('/', { config: { needs: 'audit:read' }, schema: { response } }, (request) =>
      signingKeys.list(request.caller),
    );
    // No role of a workspace gives this right: the operator alone has it.
    app.post('/rotate', { config: { needs: null }, schema: { body: strict({}), response } }, (request) =>
      signingKeys.rotate(request.caller),
    );
  };
}
