import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { webhookEvents, type Webhooks } from '../../admin/webhooks.ts';
import { answers, Count, Deleted, listOf, maybe, paging, Params, strict } from './shapes.ts';

const Event = Type.Union(webhookEvents.map((event) => Type.Literal(event)));
const Url = Type.String({
  minLength: 1,
  maxLength: 2000,
  pattern: '^(?!.*sp[ast]_[A-Za-z0-9_-]{40})[\\x21-\\x7e]+$',
});

export const WebhookShape = Type.Object({
  id: Type.String(),
  url: Type.String(),
  events: Type.Array(Type.String()),
  createdBy: Type.String(),
  createdAt: Type.String(),
  waiting: Count,
  givenUp: Count,
});

export const NewWebhookShape = Type.Intersect([WebhookShape, Type.Object({ secret: Type.String() })]);

export const WebhookTestShape = Type.Object({
  ok: Type.Boolean(),
  status: maybe(Type.Integer()),
  code: maybe(Type.String()),
  message: maybe(Type.String()),
});

export function webhookRoutes({ webhooks }: { readonly webhooks: Webhooks }): FastifyPluginAsyncTypebox {
  return async function (app) {
    const config = { needs: 'webhooks:write' } as const;
    app.post(
      '/',
      {
        config,
        schema: {
          body: strict({ url: Url, events: Type.Optional(Type.Array(Event, { minItems: 1, maxItems: 10 })) }),
          response: answers(201, NewWebhookShape),
        },
      },
      async (request, reply) => {
        const webhook = await webhooks.create(request.caller, request.body);
        return reply.code(201).send(webhook); // the only time that the secret is shown
      },
    );
    app.get(
      '/',
      { config, schema: { querystring: strict(paging), response: answers(200, listOf(WebhookShape)) } },
      (request) => webhooks.list(request.caller, request.query),
    );
    app.delete('/:id', { config, schema: { params: Params, response: answers(200, Deleted) } }, (request) =>
      webhooks.remove(request.caller, request.params.id),
    );
    app.post(
      '/:id/test',
      { config, schema: { params: Params, response: answers(200, WebhookTestShape) } },
      (request) => webhooks.test(request.caller, request.params.id),
    );
  };
}
