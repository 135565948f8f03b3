import type { RequestListener, Server } from 'node:http';
import { isDataPlane } from '../gateway/base-url.ts';
import { sayContinue } from '../gateway/continue.ts';
import type { Gateway } from '../gateway/gateway.ts';
import { createListener } from './listener.ts';
import { offerWebSockets } from './realtime.ts';
import type { Tls } from './tls.ts';

/**
 * One HTTP server for both planes. Calls of the data plane never enter fastify: its router, hooks and body parsers would cost a relayed
 * call half of what it costs in all, and each of them would be a thing to keep away from its bytes.
 */
export function createEdgeServer(gateway: Gateway, admin: RequestListener, tls: Tls | null): Server {
  const server = createListener({
    tls,
    serve(request, response, expectsContinue) {
      if (isDataPlane(request.url ?? '/')) {
        void gateway.handle(request, response, { expectsContinue });
        return;
      }
      if (expectsContinue) sayContinue(response);
      admin(request, response);
    },
  });
  offerWebSockets(server, gateway);
  return server;
}
