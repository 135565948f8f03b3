import { isIP } from 'node:net';
import type { FastifyPluginAsync, FastifyRequest } from 'fastify';
import type { Metrics } from '../telemetry/metrics.ts';

export interface MetricsDeps {
  readonly metrics: Pick<Metrics, 'text' | 'contentType'>;
  readonly mayRead: (request: FastifyRequest) => Promise<boolean>;
}

export function metricsRoutes({ metrics, mayRead }: MetricsDeps): FastifyPluginAsync {
  return async function (app) {
    app.get('/metrics', async (request, reply) => {
      if (!(await mayRead(request))) {
        return reply
          .code(403)
          .type('text/plain')
          .send(
            'Metrics are for loopback peers, or with an admin token of the operator’s workspace, or on METRICS_PORT.\n',
          );
      }
      return reply.type(metrics.contentType).send(await metrics.text());
    });
  };
}

const forwarding = ['forwarded', 'x-forwarded-for', 'x-real-ip', 'via'];

/** A loopback peer that speaks for nobody else: behind a local proxy everyone is a loopback peer. */
export function isLocalPeer(
  request: Pick<FastifyRequest, 'headers' | 'socket'>,
  isLoopback: (address: string) => boolean,
): boolean {
  if (forwarding.some((name) => request.headers[name] !== undefined)) return false;
  return isLoopback(request.socket.remoteAddress ?? '');
}

/**
 * Is this machine called so by somebody of its own? Whoever has a domain can have it lead to 127.0.0.1, and a page of his, in a browser here,
 * would read what is served to a loopback peer (DNS rebinding). An address cannot be made to lead elsewhere, and a name without a dot is
 * nobody's domain.
 */
export function isOwnName(host: string | undefined): boolean {
  if (host === undefined) return true;
  const name = URL.parse(`http://${host}`)?.hostname;
  return name !== undefined && (isIP(name) !== 0 || !name.includes('.'));
}
