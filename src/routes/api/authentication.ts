import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type Action, can } from '../../admin/permissions.ts';
import type { Callers } from '../../admin/callers.ts';
import type { Caller } from '../../admin/caller.ts';
import { SallyportError } from '../../errors.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set before any handler of `/api` runs. */
    caller: Caller;
  }
  interface FastifyContextConfig {
    /** What the caller's role has to allow; null: the service decides by itself. Every route of `/api` says one. */
    needs?: Action | null;
    /** The body may hold a provider key: refused over a connection that others can read. */
    takesValue?: boolean;
  }
}

export interface AuthenticationDeps {
  readonly callers: Pick<Callers, 'authenticate' | 'recheck'>;
  /** Another way to know a caller (the admin socket), in place of a token. */
  readonly callerOf?: ((request: FastifyRequest) => Promise<Caller> | Caller) | undefined;
  /** The peer, or what trusted proxies say of it. */
  readonly addressOf: (request: FastifyRequest) => string;
  readonly isSecure: (request: FastifyRequest) => boolean;
  /** REQUIRE_TLS: before the token is looked at. @throws {SallyportError} TLS_REQUIRED */
  readonly checkArrival: (request: FastifyRequest) => void;
  readonly limits?:
    | { readonly authFailuresPerMinute?: number; readonly mutationsPerMinute?: number }
    | undefined;
}

const usualLimits = { authFailuresPerMinute: 30, mutationsPerMinute: 60 } as const;

/**
 * Everything that is decided before a body is read, and what is asked again behind it. Needs @fastify/rate-limit on the same instance.
 */
export function addAuthentication(app: FastifyInstance, deps: AuthenticationDeps): void {
  const limits = { ...usualLimits, ...deps.limits };
  const timeWindow = 60_000;
  const failures = app.createRateLimit({ max: limits.authFailuresPerMinute, timeWindow });
  const mutations = app.createRateLimit({
    max: limits.mutationsPerMinute,
    timeWindow,
    keyGenerator: (request) => request.caller.id,
  });

  app.decorateRequest('caller');
  app.addHook('onRequest', async (request) => {
    deps.checkArrival(request);
    request.caller = await callerOf(request);
    const { needs, takesValue } = request.routeOptions.config;
    if (needs === undefined) throw new Error('a route of /api without an entry in the table of permissions');
    if (needs !== null && !can(request.caller.role, needs)) {
      throw new SallyportError('FORBIDDEN', `The role ${request.caller.role} may not do this (${needs}).`);
    }
    if ((takesValue === true || carriesSeal(request)) && !deps.isSecure(request)) {
      throw new SallyportError(
        'TLS_REQUIRED',
        'This request may carry a provider key or a seal and came over plain http; its body was not read.',
      );
    }
    // Whoever is at the socket or the data directory itself needs no gateway to change it.
    if (request.method === 'GET' || request.method === 'HEAD' || request.caller.type === 'cli') return;
    const { isAllowed, ...state } = await mutations(request);
    if (!isAllowed && 'isExceeded' in state && state.isExceeded) {
      throw new SallyportError('RATE_LIMITED', `More than ${limits.mutationsPerMinute} changes a minute.`, {
        retryAfter: state.ttlInSeconds,
      });
    }
  });
  // A body may take its time: whoever's token is revoked meanwhile, or whose role is another, would act as if it were not, and could
  // keep a request open for the moment in which he is found out.
  app.addHook('preHandler', async (request) => {
    if (request.body !== undefined) await deps.callers.recheck(request.caller);
  });

  async function callerOf(request: FastifyRequest): Promise<Caller> {
    if (deps.callerOf !== undefined) return deps.callerOf(request);
    const before = await failures(request, { increment: false });
    if ('remaining' in before && before.remaining === 0) throw tooMany(before.ttlInSeconds);
    try {
      return await deps.callers.authenticate(bearerOf(request), deps.addressOf(request));
    } catch (error) {
      if (error instanceof SallyportError && error.code === 'AUTH_INVALID') await failures(request);
      throw error;
    }
  }
}

function carriesSeal({ headers }: FastifyRequest): boolean {
  return headers['x-sallyport-seal'] !== undefined || headers['x-sallyport-new-seal'] !== undefined;
}

function tooMany(retryAfter: number): SallyportError {
  return new SallyportError('RATE_LIMITED', 'Too many wrong tokens came from this address.', { retryAfter });
}

/** Node keeps the first of two `authorization` headers: which one was meant is not for us to guess. */
function bearerOf(request: FastifyRequest): string {
  const names = request.raw.rawHeaders.filter(
    (name, i) => i % 2 === 0 && name.toLowerCase() === 'authorization',
  );
  if (names.length > 1) throw new SallyportError('REQUEST_INVALID', 'The header authorization came twice.');
  const { authorization } = request.headers;
  if (authorization === undefined || authorization === '') {
    throw new SallyportError('AUTH_MISSING', 'No admin token came with this request.', {
      fix: 'Send `Authorization: Bearer spa_…`; make one: bin/sallyport tokens create --admin --name NAME',
    });
  }
  const bearer = /^bearer +([\x21-\x7e]{1,512})$/i.exec(authorization)?.[1];
  if (bearer === undefined)
    throw new SallyportError('AUTH_INVALID', 'The authorization header is not `Bearer spa_…`.');
  return bearer;
}
