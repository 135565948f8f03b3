import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { SallyportError } from './errors.ts';
import { nearName } from './near-name.ts';
import { MiB } from './setting-kinds.ts';
import { table, type Setting } from './setting-table.ts';

type Environment = Readonly<Record<string, string | undefined>>;

type Values = { readonly [K in keyof typeof table]: Read<(typeof table)[K]> };
type Read<S> = S extends Setting<infer T> & { readonly default: null }
  ? T | null
  : S extends Setting<infer T>
    ? T
    : never;
type OriginName = 'openaiOrigin' | 'anthropicOrigin' | 'googleOrigin' | 'groqOrigin' | 'xaiOrigin';
type AwsName = 'awsAccessKeyId' | 'awsSecretAccessKey' | 'awsSessionToken';
const providerNames = ['openai', 'anthropic', 'google', 'groq', 'xai'] as const;

/** What an operator set, checked. Frozen; sizes in bytes, times in the unit of their name, origins without a trailing slash. */
export type Config = Omit<Values, OriginName | AwsName | 'dataDir' | 'transitToken'> & {
  /** Reads its file again, where it comes from one. @throws {SallyportError} CONFIG_INVALID */
  readonly transitToken: () => string | null;
  readonly awsCredentials: {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken: string | null;
  } | null;
  readonly dataDir: string;
  readonly origins: Readonly<Record<(typeof providerNames)[number], string>>;
  /** Names of the providers whose origin the operator set, to whatever value. */
  readonly operatorSetOrigins: ReadonlySet<string>;
};

/** The table of settings, in the order of docs/configuration.md. */
export const settings: readonly Setting<unknown>[] = Object.freeze(Object.values(table));

/**
 * Reads and checks all settings; an empty value counts as not set.
 *
 * @throws {SallyportError} CONFIG_INVALID, one sentence that names the setting and never its value, which may be a secret.
 */
export function readConfig(env: Environment): Config {
  refuseUnknown(env);
  // No connection of ours would obey it, but who sets it believes that one does, or that certificates do not matter here.
  if (env['NODE_TLS_REJECT_UNAUTHORIZED'] === '0') {
    throw invalid(
      'NODE_TLS_REJECT_UNAUTHORIZED=0 would send keys to whoever answers: take it away, and name a private certificate authority in NODE_EXTRA_CA_CERTS.',
    );
  }
  const entries = Object.entries(table).map(([key, entry]) => [key, readSetting(env, entry)]);
  const { openaiOrigin, anthropicOrigin, googleOrigin, groqOrigin, xaiOrigin, dataDir, ...others } =
    Object.fromEntries(entries) as Values;
  const { awsAccessKeyId, awsSecretAccessKey, awsSessionToken, transitToken, ...values } = others;
  checkArrival(values);
  if (values.workers > 1 && [values.port, values.adminPort, values.metricsPort].includes(0))
    throw invalid('WORKERS listen on one port: with more than one of them it cannot be 0.');
  if ((values.smtpUrl === null) !== (values.smtpFrom === null))
    throw invalid('SMTP_URL and SMTP_FROM are set together or not at all.');
  return Object.freeze({
    ...values,
    transitToken: () =>
      (env['SALLYPORT_TRANSIT_TOKEN_FILE'] ?? '') === ''
        ? transitToken
        : (readSetting(env, table.transitToken) as string),
    awsCredentials:
      awsAccessKeyId === null || awsSecretAccessKey === null
        ? null
        : Object.freeze({
            accessKeyId: awsAccessKeyId,
            secretAccessKey: awsSecretAccessKey,
            sessionToken: awsSessionToken,
          }),
    dataDir: dataDir ?? resolve(import.meta.dirname, '..', 'data'),
    origins: Object.freeze({
      openai: openaiOrigin,
      anthropic: anthropicOrigin,
      google: googleOrigin,
      groq: groqOrigin,
      xai: xaiOrigin,
    }),
    operatorSetOrigins: new Set(
      providerNames.filter((name) => (env[`SALLYPORT_${name.toUpperCase()}_ORIGIN`] ?? '') !== ''),
    ),
  });
}

/** Tokens and provider keys travel in headers. */
function checkArrival(
  values: Pick<
    Values,
    'host' | 'trustedProxies' | 'allowPlainHttp' | 'tlsCertFile' | 'tlsKeyFile' | 'requireTls'
  >,
): void {
  const { host, allowPlainHttp, tlsCertFile, tlsKeyFile, requireTls } = values;
  if ((tlsCertFile === null) !== (tlsKeyFile === null)) {
    throw invalid('TLS_CERT_FILE and TLS_KEY_FILE belong together: set both, or neither.');
  }
  const isBehindTls = tlsCertFile !== null || values.trustedProxies.length > 0;
  if (requireTls && allowPlainHttp) {
    throw invalid('REQUIRE_TLS and ALLOW_PLAIN_HTTP are both true; keep one of them.');
  }
  if (requireTls && !isBehindTls) {
    throw invalid(
      'REQUIRE_TLS=true would refuse every call: set TLS_CERT_FILE and TLS_KEY_FILE, or name a TLS proxy in TRUSTED_PROXIES.',
    );
  }
  if (!isLoopback(host) && !isBehindTls && !allowPlainHttp) {
    throw invalid(
      'HOST is not a loopback address, so tokens and keys would arrive in clear: set TLS_CERT_FILE and TLS_KEY_FILE, or put a TLS proxy in front and name it in TRUSTED_PROXIES, or set ALLOW_PLAIN_HTTP=true.',
    );
  }
}

function readSetting(env: Environment, entry: Setting<unknown>): unknown {
  let value = env[entry.name] ?? '';
  let name = entry.name;
  const file = entry.isSecret ? (env[`${entry.name}_FILE`] ?? '') : '';
  if (file !== '') {
    name = `${entry.name}_FILE`;
    if (value !== '') throw invalid(`${entry.name} and ${name} are both set; keep one of them.`);
    if (entry.name === 'SALLYPORT_KEYRING') refuseOpenFile(name, file);
    value = readSecretFile(name, file);
  }
  if (value === '') value = entry.default ?? '';
  if (value === '' && entry.default === null) return null;
  try {
    return entry.parse(value);
  } catch (error) {
    throw invalid(`${name} ${error instanceof Error ? error.message : 'cannot be read'}.`);
  }
}

/**
 * Who reads the root keys opens the vault, and who reads the TLS key can be this host. A group may read them only where this process, as
 * another than the owner, needs it to.
 *
 * @throws {SallyportError} CONFIG_INVALID
 */
export function refuseOpenFile(name: string, file: string): void {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined) return;
  const isOwners = process.getuid?.() === found.uid;
  if ((found.mode & (isOwners ? 0o077 : 0o007)) === 0) return;
  throw invalid(
    `${name} names a file that others may read: chmod 600, or defaultMode: 0400 for a Kubernetes secret.`,
  );
}

function readSecretFile(name: string, file: string): string {
  let content: string;
  try {
    content = readFileSync(file, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    throw invalid(`${name} names a file that cannot be read (${code}).`);
  }
  if (content === '') throw invalid(`${name} names an empty file.`);
  if (content.length > MiB) throw invalid(`${name} names a file of more than 1 MiB.`);
  return content;
}

function refuseUnknown(env: Environment): void {
  const known = settings.flatMap(({ name, isSecret }) => (isSecret ? [name, `${name}_FILE`] : [name]));
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith('SALLYPORT_') || known.includes(name)) continue;
    if (/^SALLYPORT_(SERVICE_(HOST|PORT)|PORT_\d)/.test(name) || value?.startsWith('tcp://') === true) {
      throw invalid(
        `${name} is not a setting; where Kubernetes made it for a Service, set enableServiceLinks: false.`,
      );
    }
    const bare = name.slice('SALLYPORT_'.length);
    const near = known.includes(bare) ? bare : nearName(name, known);
    throw invalid(
      `${name} is not a setting; ${near === null ? 'docs/configuration.md lists them all.' : `did you mean ${near}?`}`,
    );
  }
}

function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1') return true;
  return isIP(host) === 4 && host.startsWith('127.');
}

function invalid(sentence: string): SallyportError {
  return new SallyportError('CONFIG_INVALID', sentence);
}
