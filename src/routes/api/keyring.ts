import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Keyring } from '../../admin/keyring.ts';
import { answers, Count, maybe, strict } from './shapes.ts';

const RootKeyId = Type.String({ pattern: '^[kta]1[0-9a-f]{20}$', maxLength: 22 });
const Short = Type.String({ minLength: 1, maxLength: 300, pattern: '^[\\x21-\\x7e]+$' });

export const KeyringShape = Type.Object({
  source: Type.Union([Type.Literal('file'), Type.Literal('environment')]),
  problem: maybe(Type.String()),
  activeRootKey: Type.String(),
  keys: Type.Array(
    Type.Object({
      id: Type.String(),
      state: Type.String(),
      scheme: maybe(Type.String()),
      place: maybe(Type.String()),
      workspaceKeys: Count,
      intakeKeys: Count,
      signingKeys: Count,
      canary: Type.Boolean(),
    }),
  ),
  nodes: Type.Array(
    Type.Object({
      nodeId: Type.String(),
      bootId: Type.String(),
      version: Type.String(),
      startedAt: Type.String(),
      beatAt: Type.String(),
      isLive: Type.Boolean(),
      rootKeys: Type.Array(Type.String()),
      activeRootKey: maybe(Type.String()),
    }),
  ),
  rewrap: Type.Object({
    status: Type.String(),
    remaining: Count,
    rewrapped: Count,
    failed: Count,
    startedAt: maybe(Type.String()),
    endedAt: maybe(Type.String()),
    message: maybe(Type.String()),
  }),
});

/** No role of a workspace gives these rights: the operator alone has them. */
export function keyringRoutes({ keyring }: { readonly keyring: Keyring }): FastifyPluginAsyncTypebox {
  return async function (app) {
    const config = { needs: null };
    const response = answers(200, KeyringShape);
    app.get('/', { config, schema: { response } }, (request) => keyring.status(request.caller));
    app.post(
      '/stage',
      {
        config,
        schema: {
          body: strict({
            transit: Type.Optional(
              strict({ address: Short, mount: Short, key: Short, namespace: Type.Optional(Short) }),
            ),
            kms: Type.Optional(strict({ region: Short, keyId: Short, endpoint: Type.Optional(Short) })),
          }),
          response,
        },
      },
      (request) => keyring.stage(request.caller, request.body),
    );
    app.post(
      '/promote',
      { config, schema: { body: strict({ rootKeyId: Type.Optional(RootKeyId) }), response } },
      (request) => keyring.promote(request.caller, request.body),
    );
    app.post('/rewrap', { config, schema: { body: strict({}), response } }, (request) =>
      keyring.rewrap(request.caller),
    );
    app.post('/retire', { config, schema: { body: strict({ rootKeyId: RootKeyId }), response } }, (request) =>
      keyring.retire(request.caller, request.body),
    );
  };
}
