import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Tokens } from '../../admin/tokens.ts';
import { answers, Id, maybe, strict } from './shapes.ts';

const Rate = Type.Object({
  usd: Type.Number(),
  per: Type.Integer(),
  tiers: Type.Optional(Type.Array(Type.Object({ overInputTokens: Type.Integer(), usd: Type.Number() }))),
});

const PricingShape = Type.Object({
  version: Type.String(),
  currency: Type.Literal('USD'),
  rates: Type.Record(Type.String(), Rate),
});

const Ms = Type.Integer({ minimum: 0 });

const TargetShape = Type.Object({
  provider: Type.String(),
  keyId: Type.String(),
  keyName: Type.String(),
  keyVersion: Type.Integer(),
  keySource: Type.Enum(['own', 'shared', 'managed']),
  weight: Type.Integer(),
  needsSeal: Type.Boolean(),
  origin: Type.String(),
  path: Type.String(),
  operation: Type.String(),
  model: maybe(Type.String()),
  upstreamModel: maybe(Type.String()),
  isFallback: Type.Boolean(),
  asksStreamUsage: Type.Boolean(),
  timeouts: Type.Object({
    connectMs: Ms,
    firstByteMs: Ms,
    betweenBytesMs: Ms,
    totalMs: Ms,
    writeIdleMs: Ms,
  }),
  pricing: maybe(PricingShape),
});

const ExplanationShape = Type.Object({
  tokenId: Type.String(),
  model: maybe(Type.String()),
  method: Type.String(),
  endpoint: Type.String(),
  refusal: maybe(
    Type.Object({
      code: Type.String(),
      status: Type.Integer(),
      message: Type.String(),
      fix: Type.String(),
    }),
  ),
  alias: maybe(Type.Object({ alias: Type.String(), target: Type.String() })),
  targets: Type.Array(TargetShape),
  skipped: Type.Array(
    Type.Object({ model: maybe(Type.String()), keyId: maybe(Type.String()), reason: Type.String() }),
  ),
  limits: maybe(
    Type.Object({
      requestsPerMinute: Type.Integer(),
      concurrentCalls: Type.Integer(),
      maxAttempts: Type.Integer(),
      retryStale: Type.Boolean(),
      onDisconnect: Type.Object({ type: Type.Enum(['abort', 'drain']) }),
      networks: maybe(Type.Array(Type.String())),
      endpoints: maybe(Type.Array(Type.String())),
      expiresAt: maybe(Type.String()),
    }),
  ),
});

const Query = strict({
  token: Id,
  model: Type.Optional(Type.String({ minLength: 1, maxLength: 1024 })),
  endpoint: Type.Optional(Type.String({ minLength: 1, maxLength: 1024, pattern: '^/' })),
  method: Type.Optional(Type.Enum(['GET', 'POST', 'DELETE'])),
  stream: Type.Optional(Type.Boolean()),
  seal: Type.Optional(Type.Boolean()),
});

export function explainRoutes({
  tokens,
}: {
  readonly tokens: Pick<Tokens, 'explain'>;
}): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.get(
      '/',
      {
        config: { needs: 'tokens:read' },
        schema: { querystring: Query, response: answers(200, ExplanationShape) },
      },
      async (request, reply) => reply.send(await tokens.explain(request.caller, request.query)),
    );
  };
}
