import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import type { Socket } from 'node:net';
import { flaw, flawOf, sendFlaw, writeFlaw } from './flaw.ts';
import type { Tls } from './tls.ts';

export interface ListenerOptions {
  /** For the head of a request, from the connection's or the last answer's end on; looked at now and then. */
  readonly headMs?: { readonly limit: number; readonly checkEvery: number };
  /** Null: plain HTTP. */
  readonly tls: Tls | null;
  /** One request in its turn. `expectsContinue`: its body comes when it is told to go on, which is for this function to say. */
  readonly serve: (request: IncomingMessage, response: ServerResponse, expectsContinue: boolean) => void;
}

const usualHeadMs = { limit: 30_000, checkEvery: 5000 } as const;

const fixed: ServerOptions = {
  maxHeaderSize: 16 * 1024,
  noDelay: true,
  keepAliveTimeout: 72_000,
  // Bodies have bounds of their own: an upload may take as long as it goes on coming.
  requestTimeout: 0,
  insecureHTTPParser: false,
  // Said in words by flawOf.
  requireHostHeader: false,
};

/**
 * An HTTP server that hands on what is one whole request for a path of ours, and refuses the rest in words. Pipelined requests are served
 * at once; Node keeps their answers in order, and reads no further while more than 64 KiB of answers wait.
 */
export function createListener({ tls, serve, headMs = usualHeadMs }: ListenerOptions): Server {
  function take(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void {
    // Given up before its turn, it would get the socket all the same, and nobody would end it: those behind it would wait for ever.
    if (response.socket === null)
      response.once('socket', (socket: Socket) => {
        if (response.destroyed) socket.destroy();
      });
    const found = flawOf(request);
    if (found === null) serve(request, response, expectsContinue);
    else sendFlaw(request, response, found);
  }

  const settings = {
    ...fixed,
    headersTimeout: headMs.limit,
    connectionsCheckingInterval: headMs.checkEvery,
  };
  const onRequest: RequestListener = (request, response) => take(request, response, false);
  const server = tls === null ? createServer(settings, onRequest) : tls.createServer(settings, onRequest);
  // The default drops those above 2000 unsaid; 16 KiB are the bound.
  server.maxHeadersCount = 0;
  server.on('checkContinue', (request, response) => take(request, response, true));
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) =>
    sendFlaw(request, response, unknownExpectation),
  );
  server.on('connect', (_request, socket: Socket) => writeFlaw(socket, noTunnel));
  return server;
}

const unknownExpectation = flaw(417, 'Nothing but `100-continue` can be expected here.');
const noTunnel = flaw(405, 'CONNECT is not served: this is a gateway, and no forward proxy.');
