import type { FastifyRequest } from 'fastify';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { Keys } from '../../admin/keys.ts';
import type { UsageReports } from '../../admin/usage.ts';
import { SallyportError } from '../../errors.ts';
import { wipe } from '../../secret.ts';
import { cutValue } from '../../vault/intake.ts';
import { idempotencyKeyOf, ifMatchOf } from './conditions.ts';
import { readIntakeBody } from './intake-body.ts';
import {
  FindBody,
  FindShape,
  ImportBody,
  ImportedShape,
  KeyChangeShape,
  KeyQuery,
  KeyShape,
  NewKeyShape,
  OneKeyQuery,
  StatsQuery,
  StatsShape,
  TestBody,
  TestShape,
} from './key-shapes.ts';
import { SealHeaders, withSeal } from './seal-headers.ts';
import { answers, Deleted, listOf, Params } from './shapes.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** The provider key of the body, in memory of its own; wiped when the answer is out. */
    intake: Buffer | null;
  }
}

export interface ApiKeyDeps {
  readonly keys: Keys;
  readonly usage: Pick<UsageReports, 'keyStats'>;
}

export function apiKeyRoutes({ keys, usage }: ApiKeyDeps): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.addHook('onRequest', async (request) => {
      const { includeValue } = request.query as { includeValue?: unknown };
      if (includeValue === undefined || includeValue === 'false') return;
      throw new SallyportError('VALUE_NEVER_RETURNED', 'A stored value is never returned, to nobody.');
    });

    await app.register(intakeRoutes(keys));

    app.get(
      '/',
      {
        config: { needs: 'keys:read' },
        schema: { querystring: KeyQuery, response: answers(200, listOf(KeyShape)) },
      },
      (request) => keys.list(request.caller, request.query),
    );
    app.get(
      '/stats',
      {
        config: { needs: 'keys:read' },
        schema: { querystring: StatsQuery, response: answers(200, StatsShape) },
      },
      (request) => usage.keyStats(request.caller, request.query),
    );
    app.post(
      '/test',
      {
        config: { needs: 'keys:write' },
        schema: { headers: SealHeaders, body: TestBody, response: answers(200, TestShape) },
      },
      (request) => withSeal(request, (seal) => keys.test(request.caller, request.body.keyId, seal)),
    );
    app.get(
      '/:id',
      {
        config: { needs: 'keys:read' },
        schema: { params: Params, querystring: OneKeyQuery, response: answers(200, KeyShape) },
      },
      async (request, reply) => {
        const { key, etag } = await keys.get(request.caller, request.params.id);
        return reply.header('etag', etag).send(key);
      },
    );
    app.delete(
      '/:id',
      { config: { needs: 'keys:write' }, schema: { params: Params, response: answers(200, Deleted) } },
      (request) => keys.remove(request.caller, request.params.id, ifMatchOf(request)),
    );
  };
}

/** The routes whose body may hold a key: it is cut out as bytes before JSON.parse or a schema sees the rest. */
function intakeRoutes(keys: Keys): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.decorateRequest('intake', null);
    app.removeContentTypeParser('application/json');
    app.addContentTypeParser(
      'application/json',
      async (request: FastifyRequest, payload: FastifyRequest['raw']) => {
        const body = await readIntakeBody(payload);
        const { json, secret } = cutValue(body);
        request.intake = secret;
        return json;
      },
    );
    // Also where a schema refuses the rest, or the client is gone before the answer.
    app.addHook('onResponse', async (request) => wipe(request.intake));

    app.post(
      '/',
      {
        config: { needs: 'keys:write', takesValue: true },
        schema: { body: NewKeyShape, response: answers(201, KeyShape) },
      },
      async (request, reply) => {
        const key = await keys.create(
          request.caller,
          request.body,
          request.intake,
          idempotencyKeyOf(request),
        );
        return reply.code(201).header('location', `/api/api-keys/${key.id}`).send(key);
      },
    );
    app.post(
      '/find',
      {
        config: { needs: 'usage:read', takesValue: true },
        schema: { body: FindBody, response: answers(200, FindShape) },
      },
      (request) => keys.find(request.caller, request.body, request.intake),
    );
    app.post(
      '/import',
      {
        config: { needs: 'keys:write', takesValue: true },
        schema: { body: ImportBody, response: answers(200, ImportedShape) },
      },
      (request) => keys.importFor(request.caller, request.body, request.intake),
    );
    for (const method of ['PUT', 'PATCH'] as const) {
      app.route({
        method,
        url: '/:id',
        config: { needs: 'keys:write', takesValue: true },
        schema: { params: Params, body: KeyChangeShape, response: answers(200, KeyShape) },
        handler: async (request, reply) => {
          const { id } = request.params;
          const { key, etag } = await keys.update(
            request.caller,
            id,
            request.body,
            request.intake,
            ifMatchOf(request),
          );
          return reply.header('etag', etag).send(key);
        },
      });
    }
  };
}
