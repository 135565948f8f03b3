import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { SallyportError } from './errors.ts';
import { nearName } from './near-name.ts';
import {
  type Kind,
  GiB,
  KiB,
  MiB,
  address,
  adminToken,
  databaseUrl,
  flag,
  gatewayUrl,
  list,
  network,
  oneOf,
  origin,
  path,
  size,
  text,
  whole,
} from './setting-kinds.ts';

type Environment = Readonly<Record<string, string | undefined>>;

interface Setting<T> extends Kind<T> {
  readonly name: string;
  /** As one would write it; null: not set. */
  readonly default: string | null;
  readonly doc: string;
  /** Also read from the file that `NAME_FILE` names. */
  readonly isSecret: boolean;
}

const port = whole(0, 65_535);

const table = {
  host: setting(
    'HOST',
    address(),
    '127.0.0.1',
    'Address to listen on. Anything but loopback needs `TRUSTED_PROXIES` or `ALLOW_PLAIN_HTTP=true`.',
  ),
  port: setting(
    'PORT',
    port,
    '8080',
    'Port of the data plane; also of `/api`, unless `ADMIN_PORT` is set. 0: any free one.',
  ),
  adminPort: setting('ADMIN_PORT', port, null, 'A listener of its own for `/api`.'),
  metricsPort: setting(
    'METRICS_PORT',
    port,
    null,
    'A listener of its own for `/metrics`, open to whoever reaches it.',
  ),
  dataDir: setting(
    'DATA_DIR',
    path(),
    null,
    'Database, journal, keyring and admin socket. Default: `data` in the checkout, wherever the command is run; a relative path counts from the current directory.',
  ),
  databaseUrl: setting(
    'DATABASE_URL',
    databaseUrl(),
    null,
    'A PostgreSQL server (15 to 18) in place of the embedded one.',
    true,
  ),
  databaseMigrateUrl: setting(
    'DATABASE_MIGRATE_URL',
    databaseUrl(),
    null,
    'The same database as its owner, for migrations, where the gateway may not own it.',
    true,
  ),
  migrate: setting('MIGRATE', oneOf('auto', 'off'), 'auto', 'Whether `serve` brings the schema up to date.'),
  logLevel: setting(
    'LOG_LEVEL',
    oneOf('trace', 'debug', 'info', 'warn', 'error', 'silent'),
    'info',
    'The least level that is logged.',
  ),
  openaiOrigin: setting(
    'SALLYPORT_OPENAI_ORIGIN',
    origin(),
    'https://api.openai.com',
    'Where `openai` keys go. Setting it permits that origin, plain http and private addresses included.',
  ),
  anthropicOrigin: setting(
    'SALLYPORT_ANTHROPIC_ORIGIN',
    origin(),
    'https://api.anthropic.com',
    'The same for `anthropic`.',
  ),
  googleOrigin: setting(
    'SALLYPORT_GOOGLE_ORIGIN',
    origin(),
    'https://generativelanguage.googleapis.com',
    'The same for `google`.',
  ),
  groqOrigin: setting('SALLYPORT_GROQ_ORIGIN', origin(), 'https://api.groq.com', 'The same for `groq`.'),
  xaiOrigin: setting('SALLYPORT_XAI_ORIGIN', origin(), 'https://api.x.ai', 'The same for `xai`.'),
  allowOrigins: setting(
    'SALLYPORT_ALLOW_ORIGINS',
    list(origin()),
    '',
    'Origins on http or on private addresses that keys of provider `custom` may go to: `http://127.0.0.1:11434`.',
  ),
  keyring: setting(
    'SALLYPORT_KEYRING',
    text(),
    null,
    'The root keys as JSON, in place of `DATA_DIR/keyring.json`.',
    true,
  ),
  importEnvKeys: setting(
    'IMPORT_ENV_KEYS',
    oneOf('first-start', 'always', 'off'),
    'first-start',
    'When `OPENAI_API_KEY`, `ANTHROPIC_API_KEY`, `GEMINI_API_KEY`, `GOOGLE_API_KEY`, `GROQ_API_KEY`, `XAI_API_KEY` become managed keys.',
  ),
  journalSync: setting(
    'JOURNAL_SYNC',
    oneOf('strict', 'relaxed'),
    'strict',
    '`strict`: a record survives power loss before its key is opened; `relaxed`: it survives the process only.',
  ),
  journalMaxBytes: setting(
    'JOURNAL_MAX_BYTES',
    size(16 * MiB, 16_384 * GiB),
    '10GiB',
    'Room for journal files that have not reached the database; at 90 % no key is opened.',
  ),
  authStaleSeconds: setting(
    'AUTH_STALE_SECONDS',
    whole(0, 86_400),
    '300',
    'How long callers already known are served while the database is out of reach. 0: not at all.',
  ),
  maxJsonBytes: setting('MAX_JSON_BYTES', size(KiB, GiB), '64MiB', 'Largest JSON body.'),
  maxUploadBytes: setting(
    'MAX_UPLOAD_BYTES',
    size(KiB, 64 * GiB),
    '512MiB',
    'Largest multipart or binary body.',
  ),
  trustedProxies: setting(
    'TRUSTED_PROXIES',
    list(network()),
    '',
    'Addresses or CIDRs whose `x-forwarded-for` and `x-forwarded-proto` are believed.',
  ),
  allowPlainHttp: setting(
    'ALLOW_PLAIN_HTTP',
    flag(),
    'false',
    'Permits tokens and provider keys to arrive in clear from other machines.',
  ),
  corsOrigins: setting(
    'CORS_ORIGINS',
    list(origin()),
    '',
    'Web origins whose pages may call the data plane.',
  ),
  url: setting('SALLYPORT_URL', gatewayUrl(), null, 'For the command line: the gateway to talk to.'),
  adminToken: setting(
    'SALLYPORT_ADMIN_TOKEN',
    adminToken(),
    null,
    'For the command line, with `SALLYPORT_URL`: the admin token (`spa_…`).',
    true,
  ),
};

type Values = { readonly [K in keyof typeof table]: Read<(typeof table)[K]> };
type Read<S> = S extends Setting<infer T> & { readonly default: null }
  ? T | null
  : S extends Setting<infer T>
    ? T
    : never;
type OriginName = 'openaiOrigin' | 'anthropicOrigin' | 'googleOrigin' | 'groqOrigin' | 'xaiOrigin';
const providerNames = ['openai', 'anthropic', 'google', 'groq', 'xai'] as const;

/** What an operator set, checked. Frozen; sizes in bytes, times in the unit of their name, origins without a trailing slash. */
export type Config = Omit<Values, OriginName | 'dataDir'> & {
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
  const { openaiOrigin, anthropicOrigin, googleOrigin, groqOrigin, xaiOrigin, dataDir, ...values } =
    Object.fromEntries(entries) as Values;
  if (!isLoopback(values.host) && values.trustedProxies.length === 0 && !values.allowPlainHttp) {
    throw invalid(
      'HOST is not a loopback address, so tokens and keys would arrive in clear: put a TLS proxy in front and name it in TRUSTED_PROXIES, or set ALLOW_PLAIN_HTTP=true.',
    );
  }
  return Object.freeze({
    ...values,
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

function readSetting(env: Environment, entry: Setting<unknown>): unknown {
  let value = env[entry.name] ?? '';
  let name = entry.name;
  const file = entry.isSecret ? (env[`${entry.name}_FILE`] ?? '') : '';
  if (file !== '') {
    name = `${entry.name}_FILE`;
    if (value !== '') throw invalid(`${entry.name} and ${name} are both set; keep one of them.`);
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

function setting<T, const D extends string | null>(
  name: string,
  kind: Kind<T>,
  fallback: D,
  doc: string,
  isSecret = false,
): Setting<T> & { readonly default: D } {
  return Object.freeze({ name, type: kind.type, parse: kind.parse, default: fallback, doc, isSecret });
}
