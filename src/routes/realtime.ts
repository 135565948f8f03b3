import { type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { isDataPlane } from '../gateway/base-url.ts';
import type { Gateway } from '../gateway/gateway.ts';
import { flawOf, writeFlaw } from './flaw.ts';

/**
 * Takes requests for a WebSocket on the data plane's paths out of the server, for the gateway. Other protocols, and other paths, are
 * answered as HTTP, as if nothing had been offered (RFC 9110, 7.8).
 */
export function offerWebSockets(server: Server, gateway: Pick<Gateway, 'upgrade'>): void {
  Object.assign(server, { shouldUpgradeCallback: asksForWebSocket });
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    // A client that did not wait for the answers before it can be given none in its place.
    if ((socket as Socket & { readonly _httpMessage?: unknown })._httpMessage != null) {
      socket.on('error', () => {}).destroy();
      return;
    }
    const flaw = flawOf(request);
    if (flaw === null) void gateway.upgrade({ request, response: answerOn(socket, request), socket, head });
    else writeFlaw(socket, flaw);
  });
}

function asksForWebSocket({ url = '', headers }: IncomingMessage): boolean {
  // One with a body is no handshake: it is refused where bodies are read.
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
  return !hasBody && isDataPlane(url) && /(?:^|[\s,])websocket(?:$|[\s,/])/i.test(headers.upgrade ?? '');
}

/** For as long as it is an answer of HTTP: the last on its connection. */
function answerOn(socket: Socket, request: IncomingMessage): ServerResponse {
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket);
  socket.on('drain', () => response.emit('drain'));
  response.on('finish', () => socket.destroySoon());
  return response;
}
