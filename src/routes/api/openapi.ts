import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger';
import { ValueShape } from './key-shapes.ts';

export function openapi(version: string): NonNullable<FastifyDynamicSwaggerOptions['openapi']> {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Sallyport administration',
      version,
      description: 'Provider keys, tokens, people and numbers. Values of keys go in and never come out.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    components: {
      securitySchemes: {
        adminToken: { type: 'http', scheme: 'bearer', bearerFormat: 'spa_…', description: 'An admin token.' },
      },
    },
    security: [{ adminToken: [] }],
  };
}

/** Clients may send `value`; the schema that validates doesn't know it, because it is cut out as bytes before. */
export const showValue: NonNullable<FastifyDynamicSwaggerOptions['transform']> = ({
  schema,
  url: registered,
  route,
}) => {
  // Both forms are served; clients made from the document take the one that the pages name.
  const url = registered.replace(/(.)\/$/, '$1');
  const body = schema?.body as { properties?: object } | undefined;
  if (route.config?.takesValue !== true || body === undefined) return { schema, url };
  return {
    schema: { ...schema, body: { ...body, properties: { ...body.properties, value: ValueShape } } },
    url,
  };
};
