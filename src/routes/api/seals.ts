import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { mostResealed } from '../../admin/reseal.ts';
import type { Seals } from '../../admin/seals.ts';
import { derivationBounds } from '../../vault/seal-derivation.ts';
import { idempotencyKeyOf } from './conditions.ts';
import { TwoSealHeaders, withTwoSeals } from './seal-headers.ts';
import { answers, Count, Deleted, Id, listOf, maybe, Name, paging, Params, strict } from './shapes.ts';

/** Base64url in its bare form. */
const Bytes = (least: number, most: number) =>
  Type.String({ minLength: least, maxLength: most, pattern: '^[A-Za-z0-9_-]+$' });
const Within = ({ least, most }: { readonly least: number; readonly most: number }) =>
  Type.Integer({ minimum: least, maximum: most });

const Derivation = strict({
  type: Type.Enum(['argon2id']),
  salt: Bytes(22, 86),
  memoryKiB: Within(derivationBounds.memoryKiB),
  passes: Within(derivationBounds.passes),
  parallelism: Within(derivationBounds.parallelism),
});

export const SealShape = Type.Object({
  id: Type.String(),
  workspaceId: Type.String(),
  name: Type.String(),
  publicKey: Type.String(),
  derivation: maybe(Derivation),
  createdBy: Type.String(),
  keys: Count,
  createdAt: Type.String(),
});

const ResealedShape = Type.Object({
  sealId: Type.String(),
  keyIds: Type.Array(Type.String()),
  remaining: Count,
  receipt: maybe(Type.String()),
});

const NewSealShape = strict({
  name: Name,
  publicKey: Bytes(43, 43),
  derivation: Type.Optional(maybe(Derivation)),
});

const ResealBody = strict({
  keyIds: Type.Optional(Type.Array(Id, { minItems: 1, maxItems: mostResealed, uniqueItems: true })),
});

export function sealRoutes({ seals }: { readonly seals: Seals }): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.post(
      '/',
      { config: { needs: 'seals:write' }, schema: { body: NewSealShape, response: answers(201, SealShape) } },
      async (request, reply) => {
        const seal = await seals.create(request.caller, request.body, idempotencyKeyOf(request));
        return reply.code(201).header('location', `/api/seals/${seal.id}`).send(seal);
      },
    );
    app.get(
      '/',
      {
        config: { needs: 'seals:read' },
        schema: { querystring: strict(paging), response: answers(200, listOf(SealShape)) },
      },
      (request) => seals.list(request.caller, request.query),
    );
    app.get(
      '/:id',
      { config: { needs: 'seals:read' }, schema: { params: Params, response: answers(200, SealShape) } },
      (request) => seals.get(request.caller, request.params.id),
    );
    app.delete(
      '/:id',
      { config: { needs: 'seals:write' }, schema: { params: Params, response: answers(200, Deleted) } },
      (request) => seals.remove(request.caller, request.params.id),
    );
    app.post(
      '/:id/reseal',
      {
        config: { needs: 'seals:write' },
        schema: {
          params: Params,
          headers: TwoSealHeaders,
          body: ResealBody,
          response: answers(200, ResealedShape),
        },
      },
      (request) =>
        withTwoSeals(request, (secrets) =>
          seals.reseal(request.caller, request.params.id, request.body.keyIds ?? null, secrets),
        ),
    );
  };
}
