import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createApp, type App } from './app.ts';
import { longestSocketPath } from './cli/transport.ts';
import { guardAdminSocket, prepareAdminSocket, removeAdminSocket } from './cli/admin-socket.ts';
import { bannerText } from './cli/banner.ts';
import type { EnvironmentKey } from './cli/environment-keys.ts';
import { areCoreDumpsOn } from './cli/core-dumps.ts';
import { checkHandOver, handOver } from './cli/first-start.ts';
import { checkPorts, createOwnFront, type Front, type FrontDeps } from './front.ts';
import { keepHouse } from './housekeeping.ts';
import type { Config } from './config.ts';
import { SallyportError } from './errors.ts';
import { openInstallation, type Installation } from './installation.ts';
import { urlOf } from './own-origins.ts';
import { checkTls } from './routes/tls.ts';
import { wipe } from './secret.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

export interface ServeDeps {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly version: string;
  readonly environmentKeys: readonly EnvironmentKey[];
  readonly output: NodeJS.WritableStream & { isTTY?: boolean };
  /** The workers', in place of the listeners of this process. */
  readonly createFront?: (config: Config, deps: FrontDeps) => Front;
}

/** For what a stop does besides waiting. */
const backstopMs = 20_000;

/** Runs the gateway until a signal ends it. @returns the exit code */
export async function serve(config: Config, deps: ServeDeps): Promise<number> {
  const { log, metrics } = deps;
  // Before anything is made: a first start that then cannot listen would have minted tokens that nobody has seen.
  await checkPorts(config);
  checkTls(config);
  const socketPath = await prepareAdminSocket(config.dataDir);
  const signal = nextSignal();
  const stopped = new AbortController();
  void signal.first.then(() => stopped.abort());
  const installation = await openInstallation(config, { log, metrics, signal: stopped.signal }).catch(
    (error: unknown) => {
      if (stopped.signal.aborted && error instanceof Error && error.name === 'AbortError') return null;
      throw error;
    },
  );
  if (installation === null) {
    // Told to stop while it waited to be sure that it is alone: nothing was begun.
    removeAdminSocket(config.dataDir);
    signal.release();
    return 0;
  }
  let app: App | null = null;
  let front: Front | null = null;
  let stopHousekeeping = (): void => {};
  try {
    app = await createApp(config, { ...deps, installation });
    front = deps.createFront?.(config, { app, installation, log, metrics }) ?? createOwnFront(config, app);
    const isFirst = installation.isEmpty;
    if (isFirst) checkHandOver(config.dataDir, deps.output);
    const made = isFirst ? await app.initialise() : null;
    const give = (url: string): string | null =>
      made === null ? null : handOver({ ...made, baseUrl: url }, config.dataDir, deps.output);
    // The tokens are shown but once: whatever keeps the gateway from serving must not lose them, and who finds it ready finds them.
    const early = config.port === 0 ? null : give(urlOf(config, config.port));
    const [imported, baseUrl] = await begin(config, { app, front, socketPath }, deps, isFirst).catch(
      (error: unknown) => {
        if (config.port === 0) give(urlOf(config, 0));
        throw error;
      },
    );
    const file = config.port === 0 ? give(baseUrl) : early;
    if (file !== null) log.info('first-start', { file });
    deps.output.write(
      bannerText({
        version: deps.version,
        dataDir: config.dataDir,
        baseUrl,
        providers: await providersOf(app, installation),
        importedKeys: imported,
        token: deps.output.isTTY === true ? (made?.token ?? null) : null,
        firstStartFile: file,
      }),
    );
    if (areCoreDumpsOn())
      log.warn('core-dumps-on', {
        detail: 'A core dump would hold the root keys; set the limit to 0 (ulimit -c 0).',
      });
    log.info('serving', {
      host: config.host,
      port: Number(baseUrl.slice(baseUrl.lastIndexOf(':') + 1)),
      version: deps.version,
    });
    app.rootKeys.beat.start();
    app.checkpoints.start();
    app.alerts.start();
    stopHousekeeping = keepHouse(config, installation, deps);
    log.info('stopping', { signal: await signal.first });
  } finally {
    stopHousekeeping();
    const delayMs = config.shutdownDelaySeconds * 1000;
    const graceMs = config.drainSeconds * 1000;
    // Whatever hangs, a stop ends: what is left undone the next start recovers, as after a crash.
    const giveUp = (why: string): never => {
      log.error(why);
      process.exit(1);
    };
    const backstop = setTimeout(giveUp, delayMs + graceMs + backstopMs, 'stop.timeout').unref();
    void signal.third.then(() => giveUp('stop.forced'));
    void signal.second.then(() => front?.cut());
    void signal.second.then(() => app?.cut());
    if (app !== null) {
      front?.retire();
      app.retire();
      if (delayMs > 0) await Promise.race([delay(delayMs, undefined, { ref: false }), signal.second]);
      await front?.close(graceMs);
      await app.close(graceMs);
    }
    removeAdminSocket(config.dataDir);
    await installation.close();
    clearTimeout(backstop);
    signal.release();
  }
  return 0;
}

async function begin(
  config: Config,
  { app, front, socketPath }: { readonly app: App; readonly front: Front; readonly socketPath: string },
  deps: ServeDeps,
  isFirst: boolean,
) {
  const imported = await importKeys(config, app, deps, isFirst);
  await listenOnSocket(app, socketPath);
  return [imported, urlOf(config, await front.open())] as const;
}

/** A path too long for a socket's address is bound from its own folder. */
async function listenOnSocket(app: App, socketPath: string): Promise<void> {
  const from = process.cwd();
  const isLong = Buffer.byteLength(socketPath) > longestSocketPath;
  if (isLong) process.chdir(path.dirname(socketPath));
  try {
    await app.operator.listen({ path: isLong ? path.basename(socketPath) : socketPath });
    guardAdminSocket(socketPath);
  } finally {
    if (isLong) process.chdir(from);
  }
}

/** Keys of the environment become managed keys that the operator may use; the values are wiped whatever happens. */
async function importKeys(config: Config, app: App, { environmentKeys, log }: ServeDeps, isFirst: boolean) {
  const wanted = config.importEnvKeys === 'always' || (config.importEnvKeys === 'first-start' && isFirst);
  const imported: { variable: string; provider: string }[] = [];
  for (const { variable, provider, secret } of environmentKeys) {
    try {
      if (!wanted) continue;
      const made = await app.keys.importManaged(await app.operatorCaller(), provider, secret);
      log.info('key.imported', { name: variable, provider, keyId: made.id });
      if (made.imported) imported.push({ variable, provider });
    } catch (error) {
      if (!(error instanceof SallyportError) || error.status >= 500) throw error;
      // One key that is no key must not keep the gateway from starting.
      log.warn('key.not-imported', { name: variable, provider, code: error.code, detail: error.message });
    } finally {
      wipe(secret);
    }
  }
  return imported;
}

async function providersOf(app: App, { store }: Installation): Promise<string[]> {
  const caller = await app.operatorCaller();
  const rows = await store.asWorkspace(caller.workspaceId, (tx) =>
    tx
      .selectFrom('provider_keys')
      .select('provider')
      .distinct()
      .where('user_id', '=', caller.userId)
      .where('is_active', '=', true)
      .where('purpose', '=', 'relay')
      .execute(),
  );
  return rows.map((row) => row.provider);
}

/** What a terminal (Ctrl-C) or a service manager sends to the whole group comes again from npm. */
const pressMs = 200;

/** The first asks for a stop, the second for a quick one, the third for an end. */
function nextSignal() {
  const first = Promise.withResolvers<string>();
  const second = Promise.withResolvers<string>();
  const third = Promise.withResolvers<string>();
  const waiting = [first, second, third];
  let heard = { name: '', at: 0 };
  const on = (name: NodeJS.Signals): void => {
    const now = performance.now();
    if (name !== heard.name || now - heard.at >= pressMs) waiting.shift()?.resolve(name);
    heard = { name, at: now };
  };
  process.on('SIGINT', on).on('SIGTERM', on).on('SIGHUP', on);
  return {
    first: first.promise,
    second: second.promise,
    third: third.promise,
    release: () => void process.off('SIGINT', on).off('SIGTERM', on).off('SIGHUP', on),
  };
}
