import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import fastify, { type FastifyInstance, type LightMyRequestResponse } from 'fastify';
import type { Test } from 'tap';
import { type ActsDeps, createActs } from '../../src/admin/acts.ts';
import { createOutcomes } from '../../src/admin/outcomes.ts';
import { createActLookup } from '../../src/journal/act-lookup.ts';
import { createAlerts } from '../../src/admin/alerts.ts';
import { createAliases } from '../../src/admin/aliases.ts';
import { createPersonExport } from '../../src/admin/person-export.ts';
import { createPriceDesk } from '../../src/admin/prices.ts';
import { createAudit } from '../../src/admin/audit.ts';
import type { Caller } from '../../src/admin/caller.ts';
import { createCallers } from '../../src/admin/callers.ts';
import { createExports } from '../../src/admin/exports.ts';
import { createKeyShred } from '../../src/admin/key-shred.ts';
import { createKeys, type ProbeResult } from '../../src/admin/keys.ts';
import { createBreaches } from '../../src/admin/breaches.ts';
import { createMembers } from '../../src/admin/members.ts';
import { createIsOperator, createNewUserId } from '../../src/admin/operator.ts';
import { createProofs } from '../../src/admin/proofs.ts';
import { createProviders } from '../../src/admin/providers.ts';
import { createRecost } from '../../src/admin/recost.ts';
import { createReproject } from '../../src/admin/reproject.ts';
import { createSeals } from '../../src/admin/seals.ts';
import { createSigningKeyDesk } from '../../src/admin/signing-keys.ts';
import { createTailReader } from '../../src/admin/tail-reader.ts';
import { createTails } from '../../src/admin/tails.ts';
import { createTokens } from '../../src/admin/tokens.ts';
import { createUsageReports } from '../../src/admin/usage.ts';
import { createUsers } from '../../src/admin/users.ts';
import { createWebhooks } from '../../src/admin/webhooks.ts';
import { createWorkspaces, type NewWorkspace } from '../../src/admin/workspaces.ts';
import type { Role } from '../../src/db/schema.ts';
import { checkOrigin } from '../../src/egress/origin-check.ts';
import { newId } from '../../src/ids.ts';
import { createCheckpointKeys } from '../../src/journal/checkpoint-keys.ts';
import { openJournal } from '../../src/journal/journal.ts';
import { createProver } from '../../src/journal/proof.ts';
import { createShipper } from '../../src/journal/shipper.ts';
import { isAdministrative, providers } from '../../src/providers/catalogue.ts';
import { createPriceBook } from '../../src/providers/price.ts';
import { priceTable } from '../../src/providers/price-table.ts';
import { apiRoutes } from '../../src/routes/api/api.ts';
import { newKeyringText, parseKeyring } from '../../src/vault/keyring.ts';
import { createKeyringHome } from '../../src/vault/keyring-home.ts';
import { createVault } from '../../src/vault/vault.ts';
import { createRootKeyDesk } from '../../src/root-key-desk.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { testDatabase } from '../support/database.ts';

export interface Answer {
  readonly status: number;
  readonly headers: LightMyRequestResponse['headers'];
  readonly text: string;
  // Tests read answers as a client would: without a type.
  readonly json: any;
}

/** Starts with this, so that a search for it finds every copy of a provider key. */
export const marker = 'sk-marker-';

export function newKey(): string {
  return marker + randomBytes(18).toString('hex');
}

/** The admin side over a real database, vault and journal. */
export async function startWorld(
  t: Test,
  options: { mutationsPerMinute?: number; authFailuresPerMinute?: number; allowOrigins?: string[] } = {},
) {
  const database = await testDatabase(t);
  const { store } = database;
  const ring = parseKeyring(newKeyringText(), 'test');
  // Moves on at each look, as time does: no two rows have one.
  const time = { now: Date.now(), step: 1 };
  const clock = (): number => (time.now += time.step);
  const origins: Record<string, string> = {};
  const originOf = (provider: string): string => origins[provider] ?? providers.get(provider)?.origin ?? '';
  const vault = await createVault({
    store,
    ring,
    clock,
    knownOrigins: (provider) => (provider === 'custom' ? null : originOf(provider)),
  });
  const dir = path.join(t.testdir({}), 'journal');
  const journal = await openJournal({
    dir,
    nodeId: 'n1',
    bootId: newId('node').slice(5, 20),
    sync: 'relaxed',
    maxBytes: 1 << 30,
    clock,
  });
  const shipper = createShipper({ store, journal, clock });
  const outcomes = createOutcomes({ journal, lookup: createActLookup(store), retryMs: 10 });
  const markClient: ActsDeps['markClient'] = (ip, owner) => vault.markClient(ip, owner);
  const act = createActs({ store, journal, outcomes, markClient, clock });
  const isOperator = createIsOperator({ store });
  const newUserId = createNewUserId({ store, clock });
  const forged: string[] = [];
  const faults: unknown[] = [];
  const probes: { result: ProbeResult | Error } = {
    result: { ok: true, status: 200, code: null, ms: 12, message: null },
  };
  const keys = createKeys({
    store,
    act,
    vault,
    places: { providers, isAdministrative, originOf, allowOrigins: options.allowOrigins ?? [], checkOrigin },
    probe: () =>
      probes.result instanceof Error ? Promise.reject(probes.result) : Promise.resolve(probes.result),
    clock,
  });
  const onForgedRow = (table: string, id: string): unknown => forged.push(`${table} ${id}`);
  const shredder = createKeyShred({ store, act, journal });
  const keyring = createKeyringHome({
    ring,
    file: null,
    inUse: async () => [],
    prove: async () => {},
  });
  const desk = createRootKeyDesk({
    installation: { store, vault, journal, keyring, nodeId: 'n1', bootId: 'b1' },
    act,
    log: createLog({ level: 'silent', write: () => {} }),
    metrics: createMetrics({ version: 'test', node: process.version }),
    version: 'test',
  });
  t.teardown(() => desk.close());
  const noteKeys = createCheckpointKeys(vault, clock);
  const callers = createCallers({
    store,
    vault,
    isOperator,
    clock,
    onForgedRow,
  });
  const exports = createExports({
    journal,
    callers,
    markClient: (ip, owner) => vault.markClient(ip, owner),
    clock,
  });
  const users = createUsers({ store, act, shredder, isOperator, newUserId, clock });
  const audit = createAudit({ store, exports });
  const services = {
    keys,
    keyring: desk.keyring,
    seals: createSeals({ store, act, journal, vault, clock, onForgedRow }),
    tokens: createTokens({ store, act, vault, providers, clock, explain: async (_, supposed) => supposed }),
    alerts: createAlerts({ store, act, clock }),
    webhooks: createWebhooks({
      store,
      act,
      vault,
      checkOrigin,
      reachOf: (origin) => (options.allowOrigins?.includes(origin) === true ? 'operator' : 'public'),
      send: async () => ({ ok: true, status: 204, code: null, message: null }),
      clock,
      onForgedRow,
    }),
    breaches: createBreaches({
      store,
      act,
      journal,
      vault,
      sendWebhook: async () => ({ ok: true, status: 204, code: null, message: null }),
      sendMail: null,
      keyPage: () => null,
      clock,
      onForgedRow,
    }),
    aliases: createAliases({ store, act, vault, providers, clock, onForgedRow }),
    prices: createPriceDesk({ store, act, vault, providers, clock, onForgedRow }),
    users,
    exportPerson: createPersonExport({ store, exports, audit, users, clock }),
    members: createMembers({ store, act, isOperator, vault, clock }),
    providers: createProviders({ providers, originOf }),
    workspaces: createWorkspaces({ store, act, vault, shredder, newUserId, clock }),
    proofs: createProofs({ store, prover: createProver({ store, keys: noteKeys }), clock }),
    signingKeys: createSigningKeyDesk({ act, keys: noteKeys }),
    usage: createUsageReports({ store, exports, clock }),
    recost: createRecost({ store, journal, vault, book: createPriceBook(priceTable), clock }),
    reproject: createReproject({ store, journal, clock }),
    audit,
    tails: createTails({
      reader: createTailReader({ store, clock }),
      callers,
      clock,
      onError: (error) => faults.push(error),
      pollMs: 20,
    }),
  };
  const secure = { isSecure: true };
  const routes: { method: string; url: string; needs: unknown }[] = [];
  const app = await serve({ callers });
  async function serve(
    who: Pick<Parameters<typeof apiRoutes>[0], 'callers' | 'callerOf'>,
  ): Promise<FastifyInstance> {
    const app = fastify({ genReqId: () => newId('call') });
    app.addHook('onRoute', (route) => {
      for (const method of [route.method].flat()) {
        if (method !== 'HEAD') routes.push({ method, url: route.url, needs: route.config?.needs });
      }
    });
    await app.register(
      apiRoutes({
        ...services,
        ...who,
        addressOf: (request) => request.ip,
        isSecure: () => secure.isSecure,
        checkArrival: () => {},
        version: '0.0.0',
        limits: {
          mutationsPerMinute: options.mutationsPerMinute ?? 10_000,
          authFailuresPerMinute: options.authFailuresPerMinute ?? 10_000,
        },
        onFault: (error) => faults.push(error),
      }),
      { prefix: '/api' },
    );
    await app.ready();
    t.teardown(() => {
      services.tails.close();
      return app.close();
    });
    return app;
  }

  // Teardown is last in, first out: what writes ends before what it writes to.
  t.teardown(async () => {
    outcomes.stop();
    await shipper.stop();
    await journal.close();
    vault.close();
  });

  const system = { type: 'system', id: 'first-start', ip: null, isOperator: true } as const;
  const first = await services.workspaces.createWorkspace(system, { name: 'default' });

  /** Everything that an answer has said, for the search for keys at the end. */
  const heard: string[] = [];
  async function call(
    token: string | null,
    method: string,
    url: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const answer = await app.inject({
      method: method as 'GET',
      url,
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { payload: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    heard.push(JSON.stringify(answer.headers), answer.payload);
    const isLines = answer.headers['content-type']?.startsWith('application/jsonl') === true;
    const json = answer.payload === '' || isLines ? null : JSON.parse(answer.payload);
    return { status: answer.statusCode, headers: answer.headers, text: answer.payload, json };
  }

  return {
    database,
    store,
    vault,
    journal,
    outcomes,
    shipper,
    services,
    callers,
    app,
    serve,
    act,
    first,
    time,
    clock,
    secure,
    routes,
    origins,
    probes,
    forged,
    faults,
    heard,
    call,
    journalText: () =>
      readdirSync(dir)
        .map((name) => readFileSync(path.join(dir, name), 'utf8'))
        .join('\n'),
    newWorkspace: (name: string): Promise<NewWorkspace> =>
      services.workspaces.createWorkspace(system, { name }),
    /** A user of the workspace whose admin token it is, with a token of his own for `/api`. */
    async newUser(
      adminToken: string,
      role: Role,
      name: string = role,
    ): Promise<{ id: string; token: string; tokenId: string }> {
      const owner = await callers.authenticate(adminToken, null);
      const user = await services.users.create(owner, { name });
      await services.members.setRole(owner, user.id, role);
      const { token, text } = await services.tokens.create(owner, {
        name: 'test',
        kind: 'admin',
        userId: user.id,
      });
      return { id: user.id, token: text as string, tokenId: token.id };
    },
    /** The value of a stored key, opened as a call would: what no interface returns. */
    async open(keyId: string, seal: Buffer | null = null): Promise<string> {
      const { key, version, publicKey } = await store.asSystem(async (tx) => {
        const key = await tx
          .selectFrom('provider_keys')
          .selectAll()
          .where('id', '=', keyId)
          .executeTakeFirstOrThrow();
        const version = await tx
          .selectFrom('provider_key_versions')
          .selectAll()
          .where('key_id', '=', keyId)
          .where('version', '=', key.version)
          .executeTakeFirstOrThrow();
        const held = await tx
          .selectFrom('seals')
          .select('public_key')
          .where('id', '=', key.seal_id ?? '')
          .executeTakeFirst();
        return { key, version, publicKey: held?.public_key ?? null };
      });
      const prepared = await vault.prepare(
        {
          workspaceId: key.workspace_id,
          keyId,
          version: key.version,
          provider: key.provider,
          protection: key.protection,
          auth: key.auth,
          sealId: key.seal_id,
          sealPublicKey: publicKey,
          workspaceKeyVersion: version.workspace_key_version,
          wrap: version.wrap,
          payload: version.payload,
        },
        seal,
      );
      const into = Buffer.alloc(prepared.maxBytes);
      const header = key.auth === 'bearer' ? 'authorization' : key.auth.slice('header:'.length);
      const length = prepared.openInto(into, 0, { origin: key.origins[0] as string, header });
      return into.toString('latin1', 0, length);
    },
    callerOf: (adminToken: string): Promise<Caller> => callers.authenticate(adminToken, null),
    /** What somebody does who can write to the database: one statement, with row security out of his way. */
    tamper: (table: string, statement: string) =>
      database.owner(
        `begin; alter table ${table} no force row level security; ${statement}; alter table ${table} force row level security; commit`,
      ),
  };
}
