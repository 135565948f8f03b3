import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox';
import fastify, { type RouteOptions } from 'fastify';
import t from 'tap';
import { apiRoutes, type ApiDeps } from '../../src/routes/api/api.ts';

t.test(
  'every schema of a route can be made into a validator, although none is before it is asked for',
  async (t) => {
    const routes: RouteOptions[] = [];
    const app = fastify();
    app.addHook('onRoute', (route) => void routes.push(route));
    // No route is called: what they would work with is never looked at.
    await app.register(apiRoutes(new Proxy({}, { get: () => () => undefined }) as ApiDeps), {
      prefix: '/api',
    });
    await app.ready();
    t.teardown(() => app.close());
    let made = 0;
    for (const { method, schema = {}, url } of routes)
      for (const httpPart of ['body', 'querystring', 'params', 'headers'] as const) {
        const part = schema[httpPart];
        if (part === undefined) continue;
        made += 1;
        const what = { schema: part as never, method: String(method), url, httpPart };
        t.doesNotThrow(() => TypeBoxValidatorCompiler(what), `${String(method)} ${url}: ${httpPart}`);
      }
    t.ok(made > 60, `${made} of them`);
  },
);
