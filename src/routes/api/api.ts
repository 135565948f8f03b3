import type { FastifyPluginAsync, FastifyRequest } from 'fastify';
import helmet from '@fastify/helmet';
import rateLimit from '@fastify/rate-limit';
import swagger from '@fastify/swagger';
import type { Alerts } from '../../admin/alerts.ts';
import type { Aliases } from '../../admin/aliases.ts';
import type { PersonExport } from '../../admin/person-export.ts';
import type { PriceDesk } from '../../admin/prices.ts';
import type { Audit } from '../../admin/audit.ts';
import type { Breaches } from '../../admin/breaches.ts';
import type { Keyring } from '../../admin/keyring.ts';
import type { Keys } from '../../admin/keys.ts';
import type { Members } from '../../admin/members.ts';
import type { Proofs } from '../../admin/proofs.ts';
import type { Providers } from '../../admin/providers.ts';
import type { Recost } from '../../admin/recost.ts';
import type { Reproject } from '../../admin/reproject.ts';
import type { Seals } from '../../admin/seals.ts';
import type { SigningKeys } from '../../admin/signing-keys.ts';
import type { Tails } from '../../admin/tails.ts';
import type { Tokens } from '../../admin/tokens.ts';
import type { UsageReports } from '../../admin/usage.ts';
import type { Users } from '../../admin/users.ts';
import type { Webhooks } from '../../admin/webhooks.ts';
import type { Workspaces } from '../../admin/workspaces.ts';
import { SallyportError } from '../../errors.ts';
import { refuseSecretInUrl } from '../../gateway/secret-in-url.ts';
import { addressGroup } from '../../limits/address-group.ts';
import { alertRoutes } from './alerts.ts';
import { aliasRoutes } from './aliases.ts';
import { priceRoutes } from './prices.ts';
import { apiKeyRoutes } from './api-keys.ts';
import { auditRoutes } from './audit.ts';
import { addAuthentication, type AuthenticationDeps } from './authentication.ts';
import { breachRoutes } from './breaches.ts';
import { explainRoutes } from './explain.ts';
import { maxIntakeBytes } from './intake-body.ts';
import { intakeKeyRoutes } from './intake-key.ts';
import { journalRoutes } from './journal.ts';
import { keyringRoutes } from './keyring.ts';
import { memberRoutes } from './members.ts';
import { openapi, showValue } from './openapi.ts';
import { sendProblem, toSallyportError } from './problem.ts';
import { proofRoutes } from './proof.ts';
import { providerRoutes } from './providers.ts';
import { sealRoutes } from './seals.ts';
import { signingKeyRoutes } from './signing-keys.ts';
import { tokenRoutes } from './tokens.ts';
import { usageRoutes } from './usage.ts';
import { userRoutes } from './users.ts';
import { webhookRoutes } from './webhooks.ts';
import { compileWhenAsked } from './validator.ts';
import { workspaceRoutes } from './workspaces.ts';

export interface ApiDeps extends AuthenticationDeps {
  readonly keys: Keys;
  readonly keyring: Keyring;
  readonly seals: Seals;
  readonly tokens: Tokens;
  readonly alerts: Alerts;
  readonly webhooks: Webhooks;
  readonly breaches: Breaches;
  readonly aliases: Aliases;
  readonly prices: PriceDesk;
  readonly users: Users;
  readonly members: Members;
  readonly providers: Providers;
  readonly workspaces: Workspaces;
  readonly usage: UsageReports;
  readonly audit: Audit;
  readonly exportPerson: PersonExport;
  readonly reproject: Reproject;
  readonly recost: Recost;
  readonly tails: Tails;
  readonly proofs: Proofs;
  readonly signingKeys: SigningKeys;
  readonly version: string;
  /** A fault of ours: the answer says nothing of it, the log does. */
  readonly onFault: (error: unknown, request: FastifyRequest) => void;
}

/**
 * The admin side, registered under `/api`. It brings its own validator (nothing is coerced in bodies, nothing stripped), error form and
 * headers, so that it doesn't depend on how the server around it is set up.
 */
export function apiRoutes(deps: ApiDeps): FastifyPluginAsync {
  return async function (app) {
    app.setValidatorCompiler(compileWhenAsked);
    // The schemas of answers are documents: a serializer made from them would drop what they have forgotten.
    app.setSerializerCompiler(() => JSON.stringify);
    app.setErrorHandler((error, request, reply) => {
      const told = toSallyportError(error);
      if (told.code === 'INTERNAL') deps.onFault(told.cause ?? told, request);
      return sendProblem(request, reply, told);
    });
    app.setNotFoundHandler((request, reply) =>
      sendProblem(
        request,
        reply,
        new SallyportError('NOT_FOUND', 'There is no such path under /api.', {
          fix: 'GET /api/openapi.json lists them.',
        }),
      ),
    );
    app.removeContentTypeParser('text/plain');
    app.addHook('onRoute', (route) => {
      route.bodyLimit ??= maxIntakeBytes;
    });
    app.addHook('onRequest', async (request, reply) => {
      void reply.header('x-request-id', request.id).header('cache-control', 'no-store');
      refuseSecretInUrl(request.url);
    });

    await app.register(helmet, {
      contentSecurityPolicy: {
        useDefaults: false,
        directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
      },
      frameguard: { action: 'deny' },
      referrerPolicy: { policy: 'no-referrer' },
      // Over plain http browsers ignore it, and behind a proxy it is right.
      strictTransportSecurity: { maxAge: 31_536_000, includeSubDomains: false },
      crossOriginResourcePolicy: { policy: 'same-origin' },
    });
    await app.register(rateLimit, {
      global: false,
      keyGenerator: (request) => addressGroup(deps.addressOf(request)),
    });
    await app.register(swagger, { openapi: openapi(deps.version), transform: showValue });
    app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());

    await app.register(async (guarded) => {
      addAuthentication(guarded, deps);
      await guarded.register(apiKeyRoutes(deps), { prefix: '/api-keys' });
      await guarded.register(sealRoutes(deps), { prefix: '/seals' });
      await guarded.register(intakeKeyRoutes(deps), { prefix: '/intake-key' });
      await guarded.register(tokenRoutes(deps), { prefix: '/tokens' });
      await guarded.register(aliasRoutes(deps), { prefix: '/aliases' });
      await guarded.register(explainRoutes(deps), { prefix: '/explain' });
      await guarded.register(priceRoutes(deps), { prefix: '/prices' });
      await guarded.register(userRoutes(deps), { prefix: '/users' });
      await guarded.register(memberRoutes(deps), { prefix: '/members' });
      await guarded.register(workspaceRoutes(deps), { prefix: '/workspaces' });
      await guarded.register(keyringRoutes(deps), { prefix: '/keyring' });
      await guarded.register(providerRoutes(deps), { prefix: '/providers' });
      await guarded.register(journalRoutes(deps), { prefix: '/journal' });
      await guarded.register(usageRoutes(deps), { prefix: '/usage' });
      await guarded.register(auditRoutes(deps), { prefix: '/audit' });
      await guarded.register(proofRoutes(deps), { prefix: '/audit/proof' });
      await guarded.register(signingKeyRoutes(deps), { prefix: '/signing-keys' });
      await guarded.register(alertRoutes(deps), { prefix: '/alerts' });
      await guarded.register(webhookRoutes(deps), { prefix: '/webhooks' });
      await guarded.register(breachRoutes(deps), { prefix: '/breaches' });
    });
  };
}
