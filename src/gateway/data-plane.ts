import type { IncomingMessage } from 'node:http';
import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Store } from '../db/store.ts';
import type { Egress } from '../egress/egress.ts';
import { SallyportError } from '../errors.ts';
import type { Journal } from '../journal/journal.ts';
import type { Limits } from '../limits/limits.ts';
import { createPriceBook } from '../providers/price.ts';
import { priceTable } from '../providers/price-table.ts';
import type { Provider } from '../providers/provider.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics, Resources } from '../telemetry/metrics.ts';
import type { Tracer } from '../telemetry/tracer.ts';
import type { Vault } from '../vault/vault.ts';
import { bodyBudgetBytes, createBodyBudget } from './body-budget.ts';
import { defaultPaces, type Paces } from './body-pace.ts';
import { createCallers } from './callers.ts';
import { createDenials } from './denials.ts';
import { createEnds } from './ends.ts';
import { createEpoch, type Epoch } from './epoch.ts';
import { createExplain, type Explain } from './explain.ts';
import { createGateway, type Gateway } from './gateway.ts';
import { createKeyRemoval } from './key-removal.ts';
import { createKeyWatch } from './key-watch.ts';
import { createLastUsed } from './last-used.ts';
import { createModelCatalog, listedFor } from './model-catalog.ts';
import type { Resolver } from './model-choice.ts';
import { createModelLists } from './model-lists.ts';
import { createProbe, type ProbeResult } from './probe.ts';
import { createSealGate } from './seal-gate.ts';
import { createSnapshotReader } from './snapshot-reader.ts';
import { createTargetHealth } from './target-health.ts';
import { createLimitsOf, type SetLimits } from './time-limits.ts';

type KeyRow = Selectable<Schema['provider_keys']>;

export interface DataPlaneDeps {
  readonly store: Store;
  readonly vault: Vault;
  readonly journal: Journal;
  readonly egress: Egress;
  readonly limits: Limits;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly tracer: Tracer | null;
  readonly providers: ReadonlyMap<string, Provider>;
  readonly originOf: (provider: string) => string;
  readonly isOperatorSet: (origin: string) => boolean;
  readonly clientAddress: (request: IncomingMessage) => string;
  /** May a provider key come in clear over this connection? */
  readonly isPrivate: (request: IncomingMessage) => boolean;
  readonly ownOrigin: (request: IncomingMessage) => string | null;
  /** REQUIRE_TLS. @throws {SallyportError} TLS_REQUIRED */
  readonly checkArrival: (request: IncomingMessage) => void;
  readonly staleSeconds: number;
  readonly maxJsonBytes: number;
  readonly maxUploadBytes: number;
  /** Processes that share the machine's memory. */
  readonly workers: number;
  /** Of bodies; the usual ones if left out. */
  readonly paces?: Paces | undefined;
  readonly corsOrigins: readonly string[];
  readonly upstreamTimeouts: SetLimits;
  /** Calls back when the epoch may have moved; it is polled all the same. */
  readonly onEpochHint: (listener: () => void) => void;
}

/** The data plane as a whole: the gateway and what it keeps going beside the calls. */
export interface DataPlane {
  readonly gateway: Gateway;
  readonly epoch: Pick<Epoch, 'isStale' | 'ageMs' | 'refresh'>;
  /** @param seal the secret of a sealed key's seal, the caller's to wipe. @throws {SallyportError} SEAL_REQUIRED, SEAL_WRONG, KEY_*. */
  probe(
    caller: { readonly workspaceId: string; readonly userId: string },
    key: KeyRow,
    seal?: Uint8Array | null,
  ): Promise<ProbeResult>;
  /** What a call with a token would meet; nothing is opened or recorded. */
  readonly explain: Explain;
  /** What it holds now. */
  resources(): Pick<Resources, 'streams' | 'targetsCooling' | 'epochAgeMs'> & {
    readonly callers: Resources['caches']['callers'];
  };
  start(): void;
  /** Resolves when no call is under way and the ends of those that were are durable, or refused by the journal. */
  settled(): Promise<void>;
  /** Calls have ended: what still waits to be written is. */
  stop(): Promise<void>;
}

/** As often as the epoch is asked for: what has run out, or takes too long, is cut as soon as what was taken away. */
const expiryMs = 250;

export async function createDataPlane(deps: DataPlaneDeps): Promise<DataPlane> {
  const { store, vault, journal, egress, log, originOf, isOperatorSet } = deps;
  const now = Date.now;
  const random = Math.random;
  const epoch = await createEpoch({
    read: () => store.readEpoch(),
    now,
    tick: () => performance.now(),
    onRead: () => callers.refreshRunning(),
  });
  const onForgedRow = (kind: string, record: string): void =>
    log.error('database.forged-row', { kind, record });
  const { read, readOne, describe } = createSnapshotReader({ store, vault, onForgedRow, now });
  const callers = createCallers({
    read,
    epoch,
    staleSeconds: deps.staleSeconds,
    now,
  });
  const ends = createEnds({
    append: (event, fields) => journal.append(event, fields),
    isOpen: () => journal.isOpen(),
  });
  const denials = createDenials({ append: (event, fields) => journal.append(event, fields) });
  const lastUsed = createLastUsed({ store });
  const prices = createPriceBook(priceTable);
  const lists = createModelLists({ journal, ends, egress, prices, now });
  const stopped = new AbortController();
  const { signal } = stopped;
  const probe = createProbe({ journal, ends, egress, prices, originOf, isOperatorSet, now, signal });
  const health = createTargetHealth({ now, random });
  const keyWatch = createKeyWatch({
    providers: deps.providers,
    probe,
    ...createKeyRemoval({ store, journal, log, now, onMoved: () => epoch.refresh() }),
    forget: (keyId) => health.forget(keyId),
    onError: (keyId, error) => log.warn('key.test-failed', { keyId, error }),
    now,
  });
  const resolver: Resolver = {
    providers: deps.providers,
    listed: (caller) => listedFor(resolver, lists, caller),
    originOf,
    isOperatorSet,
    now,
    random,
    isWell: (key, origin) => health.isWell(key, origin),
  };
  const limitsOf = createLimitsOf(deps.upstreamTimeouts);
  const sealGate = createSealGate(deps);
  const markClient: Vault['markClient'] = (ip, owner) => vault.markClient(ip, owner);
  const gateway = createGateway({
    ...deps,
    paces: deps.paces ?? defaultPaces,
    callers,
    resolver,
    models: createModelCatalog({ resolver, lists, sealGate, prices, markClient }),
    health,
    keyWatch,
    limitsOf,
    sealGate,
    prepareGiven: (given) => vault.prepareGiven(given),
    ends,
    denials,
    bodies: createBodyBudget(bodyBudgetBytes(deps.maxJsonBytes, deps.workers)),
    lastUsed,
    prices,
    markClient,
    now,
  });
  let expiries: NodeJS.Timeout | null = null;

  return Object.freeze<DataPlane>({
    gateway,
    epoch,
    async probe(caller, key, seal = null) {
      const provider = deps.providers.get(key.provider);
      if (provider === undefined)
        throw new SallyportError('KEY_INVALID', 'The key is for a provider that is not known.');
      const result = await probe(provider, await readOne(key, caller), caller, seal);
      if (result.ok) health.forget(key.id);
      return result;
    },
    explain: createExplain({ describe, resolver, limitsOf, prices }),
    resources: () => ({
      streams: gateway.streamsHeld(),
      targetsCooling: health.cooling(),
      epochAgeMs: epoch.ageMs(),
      callers: callers.counts(),
    }),
    async settled() {
      await gateway.idle();
      await lists.settled();
      await keyWatch.settled();
      await ends.flush();
    },
    start() {
      epoch.start();
      deps.onEpochHint(() => void epoch.refresh());
      lastUsed.start();
      expiries ??= setInterval(() => {
        callers.cutExpired();
        gateway.cutOverdue();
      }, expiryMs).unref();
    },
    async stop() {
      epoch.stop();
      lastUsed.stop();
      if (expiries !== null) clearInterval(expiries);
      denials.flush();
      denials.stop();
      await gateway.idle();
      await lists.stop();
      stopped.abort();
      await keyWatch.settled();
      await ends.flush();
      ends.stop();
      await lastUsed.flush();
    },
  });
}
