import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { LookupFunction } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';
import { createApp, type App } from '../../src/app.ts';
import type { ConnectionOptions } from '../../src/db/connection.ts';
import { readConfig } from '../../src/config.ts';
import type { Paces } from '../../src/gateway/body-pace.ts';
import { openInstallation, type Installation } from '../../src/installation.ts';
import type { FileSeam } from '../../src/journal/file-seam.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { createCanary } from './canary.ts';
import { testDatabase, type TestDatabase } from './database.ts';
import { ask } from './http-client.ts';
import { testCa } from './upstream.ts';

export interface TestGatewayOptions {
  /** Origins of known providers, as the operator would set them: a scripted upstream's. */
  readonly upstreams?: Readonly<Partial<Record<'openai' | 'anthropic' | 'google' | 'groq' | 'xai', string>>>;
  /** Further settings by their names. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Trusted for upstreams with TLS. */
  readonly ca?: string;
  /** Where names of origins lead. */
  readonly lookup?: LookupFunction;
  /** How fast bodies have to come. */
  readonly paces?: Paces;
  /** The gateway's own way to the database, in place of the direct one: a test can cut it. */
  readonly through?: (direct: ConnectionOptions) => Promise<ConnectionOptions>;
  /** The journal's disk. */
  readonly journalFiles?: FileSeam;
  /** In place of standard output. */
  readonly output?: { write(text: string): unknown };
  /** Looks at what the gateway hands to its vault, and at what it gets. */
  readonly seen?: (vault: Vault) => Vault;
  /** A further node: on the database and with the root keys of this one, whose tokens it takes. */
  readonly beside?: TestGateway;
}

/** `/api`'s answer. */
export interface ApiAnswer {
  readonly status: number;
  readonly headers: Headers;
  // Shapes are what the tests are about: each asserts those that it reads.
  // eslint-disable-next-line typescript/no-explicit-any
  readonly body: any;
}

export interface TestGateway {
  /** `http://127.0.0.1:PORT`, or `https://…` where the settings name a certificate. */
  readonly origin: string;
  readonly token: string;
  readonly adminToken: string;
  readonly workspaceId: string;
  readonly app: App;
  readonly installation: Installation;
  readonly database: TestDatabase;
  readonly journalDir: string;
  readonly keyringFile: string;
  readonly logLines: readonly string[];
  /** JSON to `/api`, as the first workspace's owner unless another admin token is given. */
  api(method: string, path: string, body?: unknown, adminToken?: string): Promise<ApiAnswer>;
  /** Stores a key and returns its id. */
  addKey(provider: string, value: string, more?: Readonly<Record<string, unknown>>): Promise<string>;
  /** At the test's end nothing of this gateway may hold it: a seal's secret, a key that comes with a call. */
  watch(secret: string): void;
  /** Every call has ended, and all that was recorded is in the database. */
  shipped(): Promise<void>;
  metrics(): Promise<string>;
  stop(): Promise<void>;
}

/** A whole gateway in this process, on a database and a folder of its own, listening on loopback; gone with the test. */
export async function startGateway(t: Test, options: TestGatewayOptions = {}): Promise<TestGateway> {
  const { beside } = options;
  const database = beside?.database ?? (await testDatabase(t));
  const dataDir = mkdtempSync(path.join(tmpdir(), 'sallyport-test-'));
  const origins = Object.entries(options.upstreams ?? {}).map(([name, origin]) => [
    `SALLYPORT_${name.toUpperCase()}_ORIGIN`,
    origin,
  ]);
  const config = readConfig({
    DATA_DIR: dataDir,
    PORT: '0',
    LOG_LEVEL: 'trace',
    ...(beside === undefined ? {} : { SALLYPORT_KEYRING: readFileSync(beside.keyringFile, 'utf8') }),
    ...Object.fromEntries(origins),
    ...options.settings,
  });
  const logLines: string[] = [];
  const log = createLog({ level: config.logLevel, write: (line) => logLines.push(line) });
  const metrics = createMetrics({ version: 'test', node: process.version });
  const opened = await openInstallation(config, {
    log,
    metrics,
    database: {
      connection: (await options.through?.(database.connection)) ?? database.connection,
      stop: async () => {},
    },
    ...(options.ca === undefined ? {} : { ca: options.ca }),
    ...(options.journalFiles === undefined ? {} : { journalFiles: options.journalFiles }),
  });
  const installation = { ...opened, vault: options.seen?.(opened.vault) ?? opened.vault };
  const app = await createApp(config, {
    installation,
    log,
    metrics,
    version: 'test',
    ...(options.ca === undefined ? {} : { ca: options.ca }),
    ...(options.lookup === undefined ? {} : { lookup: options.lookup }),
    ...(options.paces === undefined ? {} : { paces: options.paces }),
    ...(options.output === undefined ? {} : { output: options.output }),
  }).catch(async (error: unknown) => {
    await opened.close();
    throw error;
  });
  const { workspaceId, adminToken, token } = beside ?? (await app.initialise());
  const canary = createCanary();
  for (const secret of [adminToken, token]) canary.watch(secret);
  canary.tap(app.main.app.server);
  const port = await app.main.listen({ host: '127.0.0.1', port: 0 });
  const origin = `${app.tls === null ? 'http' : 'https'}://127.0.0.1:${port}`;

  let isStopped = false;
  async function stop(): Promise<void> {
    if (isStopped) return;
    isStopped = true;
    await app.close(0);
    const text = await metrics.text();
    try {
      await canary.search({
        store: installation.store,
        journalDir: path.join(dataDir, 'journal'),
        logLines,
        metrics: text,
      });
    } finally {
      await installation.close();
    }
  }
  t.teardown(async () => {
    await stop();
    rmSync(dataDir, { recursive: true, force: true });
  });

  async function api(method: string, path: string, body?: unknown, bearer = adminToken): Promise<ApiAnswer> {
    canary.watch((body as { value?: unknown } | undefined)?.value);
    const headers = {
      authorization: `Bearer ${bearer}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    };
    const content = body === undefined ? {} : { body: JSON.stringify(body) };
    const response = await send(`${origin}/api${path}`, { method, headers, ...content });
    const text = await response.text();
    const answer = text === '' ? null : JSON.parse(text);
    for (const secret of [answer?.token, answer?.adminToken]) canary.watch(secret);
    return { status: response.status, headers: response.headers, body: answer };
  }

  return Object.freeze<TestGateway>({
    origin,
    token,
    adminToken,
    workspaceId,
    app,
    installation,
    database,
    journalDir: path.join(dataDir, 'journal'),
    keyringFile: beside?.keyringFile ?? path.join(dataDir, 'keyring.json'),
    logLines,
    watch: (secret) => canary.watch(secret),
    api,
    async addKey(provider, value, more = {}) {
      const made = await api('POST', '/api-keys', { name: provider, provider, value, force: true, ...more });
      if (made.status !== 201)
        throw new Error(`a key was refused: ${made.status} ${made.body?.code} ${made.body?.detail}`);
      return made.body.id;
    },
    async shipped() {
      await app.dataPlane.settled();
      await installation.shipper.flush();
    },
    metrics: async () => (await send(`${origin}/metrics`, {})).text(),
    stop,
  });
}

/** fetch, which takes no certificate of ours. */
async function send(
  url: string,
  init: { method?: string; headers?: Record<string, string>; body?: string },
): Promise<Response> {
  if (url.startsWith('http:')) return fetch(url, init);
  const answer = await ask(url, { ...init, tls: { ca: testCa } });
  const body = answer.body.length === 0 ? null : new Uint8Array(answer.body);
  return new Response(body, { status: answer.status, headers: answer.headers.map(([n, v]) => [n, v]) });
}
