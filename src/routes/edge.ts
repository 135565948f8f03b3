import Fastify, {
  type FastifyInstance,
  type FastifyPluginAsync,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify';
import { randomUUID } from 'node:crypto';
import type { RequestListener, Server } from 'node:http';
import type { Socket } from 'node:net';
import { renderError } from '../dialects/error-answer.ts';
import { SallyportError } from '../errors.ts';
import { baseUrls } from '../gateway/base-url.ts';
import { sayContinue } from '../gateway/continue.ts';
import { guardsOf } from '../gateway/own-headers.ts';
import { wipe } from '../secret.ts';
import { sendProblem } from './api/problem.ts';
import { type Connections, trackConnections } from './connections.ts';
import { late, refuseUnparsed, sendFlaw } from './flaw.ts';
import { createListener } from './listener.ts';
import { requestBufferWiper } from './request-buffer.ts';
import type { Tls } from './tls.ts';

export type EdgeRequest = FastifyRequest;

export interface EdgeOptions {
  /** Makes the server where it serves more than fastify. */
  readonly serverOf?: (listener: RequestListener) => Server;
  /** Null: plain HTTP. */
  readonly tls: Tls | null;
  /** For a whole body of what fastify serves, 1 MiB at most. */
  readonly bodyMs?: number;
  readonly plugins: readonly { readonly plugin: FastifyPluginAsync; readonly prefix?: string }[];
}

export interface Edge {
  readonly app: FastifyInstance;
  /** @returns the port in use. */
  listen(
    where:
      | { readonly host: string; readonly port: number; readonly reusePort?: boolean }
      | { readonly path: string },
  ): Promise<number>;
  /** One request without a listener. `body` is JSON and stays the caller's to wipe. */
  inject(
    method: string,
    path: string,
    body: Buffer | null,
    headers?: Readonly<Record<string, string>>,
  ): Promise<{ status: number; body: Buffer }>;
  /** Still serves; answers say that they are the last of their connection. */
  retire(): void;
  /**
   * Lets nobody new in and running requests end, and with them what comes meanwhile on connections that are there. Those that ask
   * nothing are closed after `quietMs()`.
   */
  close(quietMs: () => number): Promise<void>;
  /** Ends the connections that are left, in the middle of their answers. */
  cut(): void;
}

/** One listener: fastify with the given plugins, without its own logging (the request line would hold `?key=`). */
export async function createEdge({ serverOf, tls, bodyMs = 30_000, plugins }: EdgeOptions): Promise<Edge> {
  const alone = (handler: RequestListener): Server =>
    createListener({
      tls,
      serve(request, response, expectsContinue) {
        if (expectsContinue) sayContinue(response);
        handler(request, response);
      },
    });
  // For a name of two addresses fastify asks for two servers.
  const connections: Connections[] = [];
  const tracked = (server: Server): Server => {
    connections.push(trackConnections(server));
    return server;
  };
  const app = Fastify({
    logger: false,
    genReqId: () => `req_${randomUUID()}`,
    bodyLimit: 1024 * 1024,
    forceCloseConnections: false,
    clientErrorHandler: refuseUnparsed,
    // fastify's own words for them hold the path, with whatever was pasted into it.
    frameworkErrors: (_error, request, reply) => void refusePath(request, reply),
    serverFactory: (handler: RequestListener) => tracked((serverOf ?? alone)(handler)),
  });
  app.addHook('onRequest', async (request, reply) => {
    setGuards(request, reply);
    limitBody(request, reply, bodyMs);
  });
  // Under TLS the last piece stays where Node decrypts, too.
  if (serverOf !== undefined || tls !== null) {
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
    const arrival = tls === null ? 'connection' : 'secureConnection';
    app.server.on(arrival, (socket: Socket) => socket.on('data', (piece: Buffer) => wipe(piece)));
  }
  return Object.freeze<Edge>({
    app,
    async listen(where) {
      if ('port' in where) tls?.start();
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
    retire: () => connections.forEach((each) => each.retire()),
    async close(quietMs) {
      await Promise.all(connections.map(async (each) => each.close(quietMs)));
      await app.close();
    },
    cut: () => connections.forEach((each) => each.cut()),
  });
}

function setGuards({ raw }: FastifyRequest, reply: FastifyReply): void {
  const guards = guardsOf(raw);
  for (let i = 0; i < guards.length; i += 2) void reply.header(guards[i] as string, guards[i + 1]);
}

/** What no route can be looked up for, so that no hook of a route has run: `%` without two hex digits, an id of a hundred characters. */
function refusePath(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  setGuards(request, reply);
  const error = new SallyportError(
    'REQUEST_INVALID',
    'The path has an escape that is none, or a part that is too long.',
  );
  if (request.url.startsWith('/api/')) return sendProblem(request, reply, error);
  const answer = renderError('openai', error, request.id);
  return reply.code(answer.status).headers(answer.headers).send(answer.body);
}

/** A body that never ends would hold its handler as long as it likes. */
function limitBody({ raw }: FastifyRequest, reply: FastifyReply, bodyMs: number): void {
  const { 'content-length': length, 'transfer-encoding': coding } = raw.headers;
  if (raw.complete || (coding === undefined && Number(length ?? 0) === 0)) return;
  const timer = setTimeout(() => {
    if (reply.raw.headersSent) return;
    const slow = late(`The body was not whole after ${bodyMs / 1000} seconds.`);
    reply.hijack();
    // Whoever reads it still waits, with what he has read.
    reply.raw.once('close', () => raw.destroy(new SallyportError(slow.code, slow.sentence)));
    sendFlaw(raw, reply.raw, slow);
  }, bodyMs);
  const clear = (): void => clearTimeout(timer);
  raw.once('end', clear).once('close', clear);
}
