import type { FastifyPluginAsync } from 'fastify';
import { baseUrls } from '../gateway/base-url.ts';

type Check = 'ok' | 'failed';

export interface HealthDeps {
  readonly version: string;
  readonly checks: () => Promise<{
    readonly database: Check;
    readonly journal: Check;
    readonly vault: Check;
  }>;
}

/** What load balancers and people ask first; none of it says anything of the state of keys or callers. */
export function healthRoutes({ version, checks }: HealthDeps): FastifyPluginAsync {
  return async function (app) {
    app.get('/healthz', async () => ({ status: 'ok' }));
    app.get('/readyz', async (_request, reply) => {
      const state = await checks();
      const isServing = state.journal === 'ok' && state.vault === 'ok';
      // Without the database cached callers are still served, so a load balancer should leave this node in.
      const status = !isServing ? 'not_ready' : state.database === 'ok' ? 'ready' : 'degraded';
      return reply.code(isServing ? 200 : 503).send({ status, checks: state });
    });
    app.get('/', async (_request, reply) => {
      reply.type('text/plain; charset=utf-8');
      return (
        `Sallyport ${version}\n\n` +
        `Base URLs on this host: ${baseUrls}\n` +
        'Authenticate with a gateway token (spt_…) where your SDK puts its API key.\n' +
        'Administration: /api with an admin token (spa_…); its description is at /api/openapi.json.\n'
      );
    });
  };
}
