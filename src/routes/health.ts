import type { FastifyPluginAsync } from 'fastify';
import { baseUrls } from '../gateway/base-url.ts';

type Check = 'ok' | 'failed';

export interface HealthDeps {
  readonly version: string;
  /** A stop has begun: calls are still served, and none should be sent here any more. */
  readonly isStopping: () => boolean;
  readonly checks: () => Promise<{
    /** `lost`: our own, and it does not come up any more. */
    readonly database: Check | 'lost';
    readonly journal: Check;
    /** `cached`: the key service of the root keys is away, and workspaces that are open go on for a while. */
    readonly vault: Check | 'cached';
  }>;
}

/** What load balancers and people ask first; none of it says anything of the state of keys or callers. */
export function healthRoutes({ version, isStopping, checks }: HealthDeps): FastifyPluginAsync {
  return async function (app) {
    app.get('/healthz', async () => ({ status: 'ok' }));
    app.get('/readyz', async (_request, reply) => {
      // Said at once: a database that hangs must not keep it back.
      if (isStopping()) return reply.code(503).send({ status: 'not_ready', reason: 'stopping' });
      const { database, journal, vault } = await checks();
      const isServing = journal === 'ok' && vault !== 'failed' && database !== 'lost';
      // Without the database, or the key service, what is cached is still served: a load balancer should leave this node in.
      const isWhole = database === 'ok' && vault === 'ok';
      const status = !isServing ? 'not_ready' : isWhole ? 'ready' : 'degraded';
      const word = (check: string): Check => (check === 'ok' ? 'ok' : 'failed');
      const told = { database: word(database), journal, vault: word(vault) };
      return reply.code(isServing ? 200 : 503).send({ status, checks: told });
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
