import { constants, accessSync, lstatSync, statfsSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Config } from '../config.ts';
import { checkTls } from '../routes/tls.ts';
import { scrub } from '../telemetry/scrub.ts';
import type { Check, Verification } from './deps.ts';
import { mountWritable } from './failure.ts';
import { adminSocketPath, isListening } from './transport.ts';

/** What the doctor looks at. A function that throws is a check that failed, told with the error's message. */
export interface DoctorDeps {
  readonly config: Pick<
    Config,
    | 'dataDir'
    | 'host'
    | 'port'
    | 'keyring'
    | 'databaseUrl'
    | 'origins'
    | 'tlsCertFile'
    | 'tlsKeyFile'
    | 'tlsMin'
  >;
  readonly nodeVersion: string;
  /** The schema's version and what is still to be applied; reaches the database. */
  readonly schemaState: () => Promise<{
    readonly version: string | null;
    readonly pending: readonly string[];
  }>;
  /** Opens the vault: keyring, canary, workspace keys. Resolves with the ids of stored keys that do not open. */
  readonly openVault: () => Promise<readonly string[]>;
  /** Stored keys of known providers with the origins that they are sealed to. */
  readonly keyOrigins: () => Promise<
    readonly { readonly id: string; readonly provider: string; readonly origins: readonly string[] }[]
  >;
  readonly verifyJournal: () => Promise<Verification>;
  /** Breaches whose notice is not out, and when the first is due. */
  readonly breachClock: () => Promise<{ readonly waiting: number; readonly dueAt: Date | null }>;
  readonly now: () => number;
}

const leastFreeBytes = 512 * 1024 * 1024;

/** All checks in the order in which one would mend them; none changes anything. */
export async function examine(deps: DoctorDeps): Promise<{ ok: boolean; checks: Check[] }> {
  const { config } = deps;
  const database = await check('database', async () => checkSchema(await deps.schemaState()));
  // Without the database these could only repeat its failure in worse words.
  const behind = (name: string, run: () => Promise<Finding>) =>
    check(
      name,
      database.ok ? run : () => ({ ok: false, detail: 'not looked at: the database comes first', fix: null }),
    );
  const checks = [
    await check('node', () => checkNode(deps.nodeVersion)),
    await check('data directory', () => checkDataDir(config.dataDir)),
    await check('disk space', () => checkSpace(config.dataDir)),
    await check('keyring', () => checkKeyring(config)),
    await check('port', () => checkPort(config)),
    await check('certificate', () => checkCertificate(config)),
    database,
    await behind('vault', async () => checkVault(await deps.openVault())),
    await behind('key origins', async () => checkOrigins(await deps.keyOrigins(), config.origins)),
    await behind('breaches', async () => checkBreaches(await deps.breachClock(), deps.now())),
    await behind('journal', async () => checkJournal(await deps.verifyJournal())),
  ];
  return { ok: checks.every(({ ok }) => ok), checks };
}

type Finding = Omit<Check, 'name'>;

async function check(name: string, run: () => Finding | Promise<Finding>): Promise<Check> {
  try {
    return { name, ...(await run()) };
  } catch (error) {
    const { message, fix } =
      error instanceof Error ? (error as Error & { fix?: unknown }) : { message: 'failed', fix: null };
    return { name, ok: false, detail: scrub(message), fix: typeof fix === 'string' ? fix : null };
  }
}

export function checkNode(version: string): Finding {
  const isRight = version.split('.')[0]?.replace('v', '') === '26';
  return isRight
    ? good(version)
    : bad(`${version}, where 26 is needed`, 'Start through bin/sallyport, after npm ci.');
}

export function checkDataDir(dataDir: string): Finding {
  let mode: number;
  try {
    const found = statSync(dataDir);
    if (!found.isDirectory()) return bad(`${dataDir} is not a folder`, 'Set DATA_DIR to a folder.');
    mode = found.mode & 0o777;
    accessSync(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT')
      return bad(`${dataDir} does not exist`, 'Set it up: bin/sallyport init, or npm start.');
    return bad(
      `${dataDir} cannot be used (${code ?? 'unknown'})`,
      code === 'EROFS' ? mountWritable : `Make it this user’s: chown -R "$(id -u)" '${dataDir}'`,
    );
  }
  return (mode & 0o002) === 0
    ? good(dataDir)
    : bad(`${dataDir} can be written to by everyone`, `chmod o-w '${dataDir}'`);
}

export function checkSpace(dataDir: string): Finding {
  const { bavail, bsize } = statfsSync(dataDir);
  const free = bavail * bsize;
  const text = `${Math.floor(free / 1024 ** 2).toLocaleString('en-US')} MiB free`;
  return free >= leastFreeBytes
    ? good(text)
    : bad(text, 'Make room: without it the journal stops, and with it every call.');
}

export function checkKeyring({ dataDir, keyring }: Pick<Config, 'dataDir' | 'keyring'>): Finding {
  if (keyring !== null) return good('from SALLYPORT_KEYRING');
  const file = join(dataDir, 'keyring.json');
  const found = lstatSync(file, { throwIfNoEntry: false });
  if (found === undefined) {
    return bad(
      'there is none',
      'A new data directory: bin/sallyport init. An old one: bring keyring.json back from your copy; without it no key opens.',
    );
  }
  const isPrivate = found.isFile() && (found.mode & 0o077) === 0;
  return isPrivate ? good(file) : bad(`${file} is open to others`, `chmod 600 '${file}'`);
}

/** Taken by our own gateway is as good as free. */
export async function checkPort({
  host,
  port,
  dataDir,
}: Pick<Config, 'host' | 'port' | 'dataDir'>): Promise<Finding> {
  if (await isListening(adminSocketPath(dataDir))) return good(`a gateway runs on this data directory`);
  const server = createServer();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('listening', resolve).once('error', reject).listen(port, host);
  try {
    await promise;
    return good(`${host}:${port} is free`);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE')
      return bad(`${host}:${port} is taken by another program`, `Use another: PORT=${port + 1} npm start`);
    return bad(
      `${host}:${port} cannot be listened on (${code ?? 'unknown'})`,
      'Set HOST to an address of this machine and PORT above 1023.',
    );
  } finally {
    server.close();
  }
}

export function checkCertificate(config: Pick<Config, 'tlsCertFile' | 'tlsKeyFile' | 'tlsMin'>): Finding {
  const found = checkTls(config);
  if (found === null) return good('none by the settings here: plain http');
  return judgeDaysLeft(`${config.tlsCertFile}`, found.daysLeft);
}

/** Less than this, and whoever renews certificates has failed to: ACME clients do it 30 days before the end. */
const fewDays = 14;

export function judgeDaysLeft(file: string, daysLeft: number): Finding {
  const days = `${file}, ${daysLeft} days left`;
  if (daysLeft >= fewDays) return good(days);
  return bad(
    daysLeft < 0 ? `${file} has expired` : days,
    'Put a new one in its place, with its key; nothing has to be restarted.',
  );
}

export function checkSchema({
  version,
  pending,
}: {
  readonly version: string | null;
  readonly pending: readonly string[];
}): Finding {
  if (pending.length > 0) return bad(`${pending.length} migrations are not applied`, 'bin/sallyport migrate');
  return version === null ? bad('it is empty', 'bin/sallyport init') : good(`schema ${version}`);
}

export function checkVault(undecryptable: readonly string[]): Finding {
  if (undecryptable.length === 0) return good('the root key opens it');
  return bad(
    `${undecryptable.length} keys do not open: ${some(undecryptable)}`,
    'Their rows were changed: store these keys anew.',
  );
}

/** A key is sealed to an origin; after SALLYPORT_<PROVIDER>_ORIGIN was changed it answers KEY_ORIGIN. */
export function checkOrigins(
  keys: readonly { readonly id: string; readonly provider: string; readonly origins: readonly string[] }[],
  inForce: Readonly<Record<string, string>>,
): Finding {
  const stray = keys.filter(({ provider, origins }) => {
    const origin = Object.hasOwn(inForce, provider) ? inForce[provider] : undefined;
    return origin !== undefined && !origins.includes(origin);
  });
  if (stray.length === 0) return good(`${keys.length} keys checked, by the settings here`);
  const names = some(stray.map(({ id, provider, origins }) => `${id} (${provider}: ${origins.join(', ')})`));
  return bad(
    `${stray.length} keys are for another origin than the settings here name: ${names}`,
    'Has the gateway other settings than this shell? Run doctor with those. Else store them anew, or set SALLYPORT_…_ORIGIN back.',
  );
}

export function checkBreaches(
  { waiting, dueAt }: { readonly waiting: number; readonly dueAt: Date | null },
  now: number,
): Finding {
  if (dueAt === null) return good('none waits for its notice');
  const hours = Math.floor(Math.abs(dueAt.getTime() - now) / 3_600_000);
  const left = dueAt.getTime() >= now ? `${hours} hours are left` : `it is ${hours} hours late`;
  return bad(
    `${waiting} without a notice; the first is due by ${dueAt.toISOString()}: ${left}`,
    'bin/sallyport breach notify tells everybody concerned; docs/breach.md says what else to do.',
  );
}

export function checkJournal({ ok, records, problems }: Verification): Finding {
  if (ok) return good(`${records.toLocaleString('en-US')} records, unbroken`);
  const [first] = problems;
  return bad(
    `${problems.length} problems; first: ${first?.kind ?? ''} in ${first?.stream ?? ''}`,
    'bin/sallyport journal verify names them all.',
  );
}

function some(names: readonly string[]): string {
  return names.length <= 5
    ? names.join(', ')
    : `${names.slice(0, 5).join(', ')} and ${names.length - 5} more`;
}

function good(detail: string): Finding {
  return { ok: true, detail, fix: null };
}

function bad(detail: string, fix: string): Finding {
  return { ok: false, detail, fix };
}
