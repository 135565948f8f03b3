import Fastify, { type FastifyInstance, type FastifyPluginAsync, type FastifyRequest } from 'fastify';
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, RequestListener, Server } from 'node:http';
import type { Socket } from 'node:net';
import { renderError } from '../dialects/error-answer.ts';
import { SallyportError } from '../errors.ts';
import { baseUrls } from '../gateway/base-url.ts';
import { guards } from '../gateway/own-headers.ts';
import { wipe } from '../secret.ts';
import { requestBufferWiper } from './request-buffer.ts';

export type EdgeRequest = FastifyRequest;

export interface EdgeOptions {
  /** Makes the HTTP server; a plain one of fastify's own where it is left out. */
  readonly serverOf?: (listener: RequestListener) => Server;
  /** Peers whose forwarding headers are believed. */
  readonly trustedProxies: readonly string[];
  readonly plugins: readonly { readonly plugin: FastifyPluginAsync; readonly prefix?: string }[];
}

export interface Edge {
  readonly app: FastifyInstance;
  /** @returns the port in use. */
  listen(
    where: { readonly host: string; readonly port: number } | { readonly path: string },
  ): Promise<number>;
  /** One request without a listener. `body` is JSON and stays the caller's to wipe. */
  inject(
    method: string,
    path: string,
    body: Buffer | null,
    headers?: Readonly<Record<string, string>>,
  ): Promise<{ status: number; body: Buffer }>;
  /** Lets running requests end; idle connections are closed at once and again as they fall idle. */
  close(): Promise<void>;
}

/** One listener: fastify with the given plugins, without its own logging (the request line would hold `?key=`). */
export async function createEdge({ serverOf, trustedProxies, plugins }: EdgeOptions): Promise<Edge> {
  const app = Fastify({
    logger: false,
    genReqId: () => `req_${randomUUID()}`,
    bodyLimit: 1024 * 1024,
    trustProxy: trustedProxies.length > 0 ? [...trustedProxies] : false,
    forceCloseConnections: false,
    ...(serverOf === undefined ? {} : { serverFactory: (handler: RequestListener) => serverOf(handler) }),
  });
  app.addHook('onRequest', async (_request, reply) => {
    for (let i = 0; i < guards.length; i += 2) reply.header(guards[i] as string, guards[i + 1]);
  });
  if (serverOf !== undefined) {
    const wipeRequestBuffer = requestBufferWiper(app.server);
    app.addHook('onResponse', async (request) => {
      if (request.routeOptions.config.takesValue === true) wipeRequestBuffer();
    });
  }
  for (const { plugin, prefix } of plugins)
    await app.register(plugin, prefix === undefined ? {} : { prefix });
  app.setNotFoundHandler((request, reply) => {
    const error = new SallyportError('NOT_FOUND', `Nothing is served here. Base URLs: ${baseUrls}.`, {
      fix: 'Set your SDK’s base URL to one of these on this host; administration is under /api.',
    });
    const answer = renderError('openai', error, request.id);
    return reply.code(answer.status).headers(answer.headers).send(answer.body);
  });
  await app.ready();
  // A listener of administration alone, where keys come in: Node reads requests into one buffer of the process that keeps the last of
  // them; with a listener for 'data' each piece comes in memory of its own, which is wiped once it has been parsed.
  if (serverOf === undefined) {
    app.server.on('connection', (socket) => socket.on('data', (piece: Buffer) => wipe(piece)));
  }
  const silent = silentConnections(app.server);
  return Object.freeze<Edge>({
    app,
    async listen(where) {
      await app.listen(where);
      const address = app.server.address();
      return typeof address === 'object' && address !== null ? address.port : 0;
    },
    async inject(method, path, body, headers = {}) {
      const answer = await app.inject({
        method: method as 'GET',
        url: path,
        headers: { ...headers, ...(body === null ? {} : { 'content-type': 'application/json' }) },
        ...(body === null ? {} : { payload: body }),
      });
      return { status: answer.statusCode, body: answer.rawPayload };
    },
    async close() {
      // app.close() waits for idle keep-alive connections, and for those that never asked anything, which nothing ends.
      const idle = setInterval(() => {
        app.server.closeIdleConnections();
        for (const socket of silent) socket.destroy();
      }, 50);
      try {
        await app.close();
      } finally {
        clearInterval(idle);
      }
    },
  });
}

/** Connections on which no request has come yet: Node does not count them among the idle ones. */
function silentConnections(server: Server): ReadonlySet<Socket> {
  const silent = new Set<Socket>();
  const speak = ({ socket }: IncomingMessage): void => void silent.delete(socket);
  server
    .on('connection', (socket: Socket) => {
      silent.add(socket);
      socket.once('close', () => silent.delete(socket));
    })
    .prependListener('request', speak);
  // Whoever listens for this event answers it.
  if (server.listenerCount('checkContinue') > 0) server.prependListener('checkContinue', speak);
  return silent;
}
