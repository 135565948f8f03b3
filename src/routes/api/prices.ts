import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { PriceDesk } from '../../admin/prices.ts';
import { unitNames } from '../../providers/price-units.ts';
import { idempotencyKeyOf } from './conditions.ts';
import { answers, Deleted, listOf, Moment, paging, Params, strict, Word } from './shapes.ts';

/** A model's name or a pattern; never what was pasted in its place. */
const Model = Type.String({
  minLength: 1,
  maxLength: 256,
  pattern: '^(?!.*sp[ast]_[A-Za-z0-9_-]{40})[\\x21-\\x7e]+$',
});
const Dollars = Type.String({ minLength: 1, maxLength: 16, pattern: '^\\d+(\\.\\d+)?$' });

export const PriceShape = Type.Object({
  id: Type.String(),
  provider: Type.String(),
  model: Type.String(),
  prices: Type.Record(Type.String(), Type.String()),
  effectiveFrom: Type.String(),
  createdBy: Type.String(),
  createdAt: Type.String(),
});

export function priceRoutes({ prices }: { readonly prices: PriceDesk }): FastifyPluginAsyncTypebox {
  const units = strict(Object.fromEntries(unitNames.map((name) => [name, Type.Optional(Dollars)])));
  const body = strict({
    provider: Word,
    model: Model,
    prices: units,
    effectiveFrom: Type.Optional(Moment),
  });
  return async function (app) {
    app.post(
      '/',
      { config: { needs: 'workspace:write' }, schema: { body, response: answers(201, PriceShape) } },
      async (request, reply) => {
        const price = await prices.create(request.caller, request.body, idempotencyKeyOf(request));
        return reply.code(201).send(price);
      },
    );
    app.get(
      '/',
      {
        config: { needs: 'workspace:read' },
        schema: { querystring: strict(paging), response: answers(200, listOf(PriceShape)) },
      },
      (request) => prices.list(request.caller, request.query),
    );
    app.delete(
      '/:id',
      { config: { needs: 'workspace:write' }, schema: { params: Params, response: answers(200, Deleted) } },
      (request) => prices.remove(request.caller, request.params.id),
    );
  };
}
