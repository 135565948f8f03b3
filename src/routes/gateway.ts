import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isDataPlane } from '../gateway/base-url.ts';
import type { Gateway } from '../gateway/gateway.ts';

/**
 * One HTTP server for both planes. Calls of the data plane never enter fastify: its router, hooks and body parsers would cost a relayed
 * call half of what it costs in all, and each of them would be a thing to keep away from its bytes.
 */
export function createEdgeServer(gateway: Gateway, admin: Parameters<typeof createServer>[1] & {}): Server {
  const server = createServer(
    {
      maxHeaderSize: 16 * 1024,
      noDelay: true,
      keepAliveTimeout: 72_000,
      headersTimeout: 60_000,
      requestTimeout: 0,
      insecureHTTPParser: false,
    },
    (request, response) => {
      if (!hasPath(request, response)) return;
      if (isDataPlane(request.url ?? '/')) void gateway.handle(request, response);
      else admin(request, response);
    },
  );
  server.on('checkContinue', (request, response) => {
    if (!hasPath(request, response)) return;
    if (isDataPlane(request.url ?? '/')) {
      void gateway.handle(request, response, { expectsContinue: true });
      return;
    }
    response.writeContinue();
    admin(request, response);
  });
  return server;
}

/** An absolute-form target names a host that no check of ours looks at; `*` and authority-form name nothing of ours. */
function hasPath(request: IncomingMessage, response: ServerResponse): boolean {
  if (request.url?.startsWith('/') === true) return true;
  response
    .writeHead(400, { connection: 'close', 'content-type': 'text/plain' })
    .end('The request target has to be a path.\n');
  return false;
}
