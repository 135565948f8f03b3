import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Providers } from '../../admin/providers.ts';
import { answers, maybe } from './shapes.ts';

export const ProviderShape = Type.Object({
  name: Type.String(),
  title: Type.String(),
  dialect: Type.Enum(['openai', 'anthropic', 'google']),
  baseUrl: Type.String(),
  origin: maybe(Type.String()),
  basePath: Type.String(),
  auth: Type.String(),
  keyPage: maybe(Type.String()),
  usagePage: maybe(Type.String()),
  keyShape: Type.String(),
});

export function providerRoutes({ providers }: { readonly providers: Providers }): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.get(
      '/',
      {
        config: { needs: 'workspace:read' },
        schema: { response: answers(200, Type.Object({ data: Type.Array(ProviderShape) })) },
      },
      (request, reply) => reply.send(providers.list(request.caller)),
    );
  };
}
