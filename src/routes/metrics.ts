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
