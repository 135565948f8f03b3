import { type Act, createActs } from './admin/acts.ts';
import { createAlerts } from './admin/alerts.ts';
import { createAliases } from './admin/aliases.ts';
import { createPersonExport } from './admin/person-export.ts';
import { createPriceDesk } from './admin/prices.ts';
import { createAudit } from './admin/audit.ts';
import { createCallers as createAdminCallers } from './admin/callers.ts';
import { createExports } from './admin/exports.ts';
import { createKeyShred } from './admin/key-shred.ts';
import { createKeys } from './admin/keys.ts';
import { createBreaches } from './admin/breaches.ts';
import { createMembers } from './admin/members.ts';
import { createIsOperator, createNewUserId } from './admin/operator.ts';
import { createOutcomes } from './admin/outcomes.ts';
import { createProofs } from './admin/proofs.ts';
import { createProviders } from './admin/providers.ts';
import { createRecost } from './admin/recost.ts';
import { createReproject } from './admin/reproject.ts';
import { createSeals } from './admin/seals.ts';
import { createSigningKeyDesk } from './admin/signing-keys.ts';
import { createTailReader } from './admin/tail-reader.ts';
import { createTails } from './admin/tails.ts';
import { createTokens } from './admin/tokens.ts';
import { createUsageReports } from './admin/usage.ts';
import { createUsers } from './admin/users.ts';
import { createWebhooks } from './admin/webhooks.ts';
import { createWorkspaces } from './admin/workspaces.ts';
import type { AlertDesk } from './alert-desk.ts';
import type { CheckpointDesk } from './checkpoint-desk.ts';
import type { Config } from './config.ts';
import type { Egress } from './egress/egress.ts';
import type { SendMail } from './egress/mailer.ts';
import type { DataPlane } from './gateway/data-plane.ts';
import type { Installation } from './installation.ts';
import { createActLookup } from './journal/act-lookup.ts';
import { isAdministrative, providers } from './providers/catalogue.ts';
import { createPriceBook } from './providers/price.ts';
import { priceTable } from './providers/price-table.ts';
import { createRootKeyDesk } from './root-key-desk.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

/** What `/api` offers, over the rooms below; not yet served by anybody. */
export function createAdminSide(
  config: Config,
  deps: {
    readonly installation: Installation;
    readonly dataPlane: DataPlane;
    readonly egress: Egress;
    readonly checkpoints: CheckpointDesk;
    readonly alerts: Pick<AlertDesk, 'sendWebhook' | 'reachOf'>;
    readonly sendMail: SendMail | null;
    readonly originOf: (provider: string) => string;
    readonly log: Log;
    readonly metrics: Metrics;
    readonly version: string;
    readonly clock: () => number;
  },
) {
  const { alerts, checkpoints, clock, dataPlane, egress, installation, log, metrics, originOf, version } =
    deps;
  const { sendMail } = deps;
  const { journal, vault } = installation;
  const store = installation.store.unhurried;
  const isOperator = createIsOperator({ store });
  const newUserId = createNewUserId({ store, clock });
  const outcomes = createOutcomes({ journal, lookup: createActLookup(store) });
  const plainAct = createActs({
    store,
    journal,
    outcomes,
    markClient: (ip, owner) => vault.markClient(ip, owner),
    clock,
  });
  // Whoever was told that an act is done may make the next call at once: this node does not wait for its poll to know of it.
  const act: Act = async (caller, event, fields, work) => {
    const acted = await plainAct(caller, event, fields, work);
    await dataPlane.epoch.refresh();
    return acted;
  };
  const shredder = createKeyShred({ store, act, journal });
  const workspaces = createWorkspaces({ store, act, vault, shredder, newUserId, clock });
  const keys = createKeys({
    store,
    act,
    vault,
    places: {
      providers: new Map([...providers].filter(([name]) => name !== 'custom')),
      isAdministrative,
      originOf,
      allowOrigins: config.allowOrigins,
      checkOrigin: (origin, reach) => egress.checkOrigin(origin, reach),
    },
    probe: (caller, key, seal) => dataPlane.probe(caller, key, seal),
    clock,
  });
  const onForgedRow = (kind: string, record: string): void =>
    log.error('database.forged-row', { kind, record });
  const callers = createAdminCallers({
    store,
    vault,
    isOperator,
    clock,
    onForgedRow,
  });
  const rootKeys = createRootKeyDesk({ installation, act, log, metrics, version });
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
    keyring: rootKeys.keyring,
    seals: createSeals({ store, act, journal, vault, clock, onForgedRow }),
    tokens: createTokens({ store, act, vault, providers, clock, explain: dataPlane.explain }),
    alerts: createAlerts({ store, act, clock }),
    webhooks: createWebhooks({
      store,
      act,
      vault,
      checkOrigin: (origin, reach) => egress.checkOrigin(origin, reach),
      reachOf: alerts.reachOf,
      send: alerts.sendWebhook,
      clock,
      onForgedRow,
    }),
    breaches: createBreaches({
      store,
      act,
      journal,
      vault,
      sendWebhook: alerts.sendWebhook,
      sendMail,
      keyPage: (provider) => (provider === 'custom' ? null : (providers.get(provider)?.keyPage ?? null)),
      clock,
      onForgedRow,
    }),
    aliases: createAliases({ store, act, vault, providers, clock, onForgedRow }),
    prices: createPriceDesk({ store, act, vault, providers, clock, onForgedRow }),
    users,
    exportPerson: createPersonExport({ store, exports, audit, users, clock }),
    members: createMembers({ store, act, isOperator, vault, clock }),
    providers: createProviders({ providers, originOf }),
    workspaces,
    usage: createUsageReports({ store, exports, clock }),
    recost: createRecost({ store, journal, vault, book: createPriceBook(priceTable), clock }),
    reproject: createReproject({ store, journal, clock }),
    audit,
    tails: createTails({
      reader: createTailReader({ store, clock }),
      callers,
      clock,
      onError: (error) => log.warn('api.failed', { route: '/api/audit/tail', error }),
    }),
    proofs: createProofs({ store, prover: checkpoints.prover, clock }),
    signingKeys: createSigningKeyDesk({ act, keys: checkpoints.keys }),
    callers,
  };
  return Object.freeze({ services, callers, keys, outcomes, rootKeys, workspaces });
}
