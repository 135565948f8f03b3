/* Over 300 lines: one table, in one place. */
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
  mailAddress,
  network,
  oneOf,
  origin,
  outlet,
  path,
  proxyUrl,
  sealSecret,
  size,
  smtpUrl,
  text,
  timeLimits,
  token,
  whole,
} from './setting-kinds.ts';

/** One environment variable. */
export interface Setting<T> extends Kind<T> {
  readonly name: string;
  /** As one would write it; null: not set. */
  readonly default: string | null;
  readonly doc: string;
  /** Also read from the file that `NAME_FILE` names. */
  readonly isSecret: boolean;
}

const port = whole(0, 65_535);

/** The table of settings, in the order of docs/configuration.md. config.ts reads it, and nobody else. */
export const table = {
  host: setting(
    'HOST',
    address(),
    '127.0.0.1',
    'Address to listen on. Anything but loopback needs `TLS_CERT_FILE`, `TRUSTED_PROXIES` or `ALLOW_PLAIN_HTTP=true`.',
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
  workers: setting(
    'WORKERS',
    whole(1, 64),
    '1',
    'Processes that serve calls, on one port. From 2 on one more looks after them, and after what a gateway does once ([scaling.md](scaling.md)).',
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
  databaseListenUrl: setting(
    'DATABASE_LISTEN_URL',
    databaseUrl(),
    null,
    'The same database without a pooler between, for `LISTEN`, which one in transaction mode breaks. Without it all is noticed all the same, up to a quarter of a second later.',
    true,
  ),
  migrate: setting('MIGRATE', oneOf('auto', 'off'), 'auto', 'Whether `serve` brings the schema up to date.'),
  shutdownDelaySeconds: setting(
    'SHUTDOWN_DELAY_SECONDS',
    whole(0, 3600),
    '0',
    'How long a stop waits before it lets nobody new in, with `/readyz` at 503 and calls served: longer than a load balancer takes to see it.',
  ),
  drainSeconds: setting(
    'DRAIN_SECONDS',
    whole(0, 3600),
    '25',
    'How long calls under way may then take to end by themselves. What is left is cut, streams with an error event.',
  ),
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
    'Origins on http or on private addresses that keys of provider `custom`, webhooks and checkpoints may go to: `http://127.0.0.1:11434`.',
  ),
  egressProxy: setting(
    'EGRESS_PROXY',
    proxyUrl(),
    null,
    'A proxy that serves CONNECT, for everything that goes out to public origins: `http://user:password@proxy.example:3128`. TLS to the provider stays end to end.',
    true,
  ),
  egressDirectOrigins: setting(
    'EGRESS_DIRECT_ORIGINS',
    list(origin()),
    '',
    'Origins that are reached without `EGRESS_PROXY`. Plain http, loopback, private addresses and inner names always are.',
  ),
  keyring: setting(
    'SALLYPORT_KEYRING',
    text(),
    null,
    'The root keys as JSON, in place of `DATA_DIR/keyring.json`; a file of them that others may read is refused.',
    true,
  ),
  transitToken: setting(
    'SALLYPORT_TRANSIT_TOKEN',
    token(),
    null,
    'The token for root keys in a Transit engine (HashiCorp Vault, OpenBao). The file is read again at each request, so that an agent may renew it.',
    true,
  ),
  awsAccessKeyId: setting(
    'AWS_ACCESS_KEY_ID',
    token(),
    null,
    'For root keys in AWS KMS, with the two below; nothing else uses them.',
  ),
  awsSecretAccessKey: setting('AWS_SECRET_ACCESS_KEY', token(), null, 'Its secret.', true),
  awsSessionToken: setting(
    'AWS_SESSION_TOKEN',
    token(),
    null,
    'With temporary credentials. They are read once: a gateway has to be restarted with new ones.',
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
  journalRetentionMonths: setting(
    'JOURNAL_RETENTION_MONTHS',
    whole(1, 1200),
    null,
    'Whole months of records that are kept in the database besides the present one; older ones are dropped, leaving signed stubs. Not set: all are kept.',
  ),
  checkpointOutlets: setting(
    'CHECKPOINT_OUTLETS',
    list(outlet()),
    'file',
    'Where signed checkpoints of the journal go: `file` is `DATA_DIR/checkpoints.txt`, `stdout` standard output, a URL gets each by POST.',
    true,
  ),
  smtpUrl: setting(
    'SMTP_URL',
    smtpUrl(),
    null,
    'A mail server for notices of a breach: `smtps://user:password@mail.example:465`, or `smtp://` with STARTTLS. In clear on loopback only.',
    true,
  ),
  smtpFrom: setting('SMTP_FROM', mailAddress(), null, 'The address that these notices come from.'),
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
  upstreamTimeouts: setting(
    'UPSTREAM_TIMEOUTS',
    timeLimits(['openai', 'anthropic', 'google', 'groq', 'xai', 'custom']),
    '',
    'Time limits in place of the built-in ones, by provider: `connect`, `firstByte`, `betweenBytes`, `total`, `writeIdle`, as in `openai.firstByte=900s,custom.total=10m`; `0s` is none. A token may have its own.',
  ),
  tlsCertFile: setting(
    'TLS_CERT_FILE',
    path(),
    null,
    'Certificate in PEM, with those between it and the root: `PORT` and `ADMIN_PORT` speak TLS then. Read again when it changes.',
  ),
  tlsKeyFile: setting(
    'TLS_KEY_FILE',
    path(),
    null,
    'Its private key in PEM, without a passphrase; a file that others may read is refused.',
  ),
  tlsMin: setting('TLS_MIN', oneOf('1.2', '1.3'), '1.3', 'The oldest version of TLS that clients may speak.'),
  requireTls: setting(
    'REQUIRE_TLS',
    flag(),
    'false',
    'Refuses calls and administration that come neither over our TLS nor over that of a trusted proxy, from this machine too.',
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
  otlpEndpoint: setting(
    'OTEL_EXPORTER_OTLP_ENDPOINT',
    gatewayUrl(),
    null,
    'An OpenTelemetry collector, such as `http://127.0.0.1:4318`: spans of calls go to `/v1/traces` under it, as JSON. Not set: none are made.',
  ),
  otelServiceName: setting(
    'OTEL_SERVICE_NAME',
    text(),
    'sallyport',
    'The `service.name` of these spans. No other variable of OpenTelemetry is read.',
  ),
  url: setting('SALLYPORT_URL', gatewayUrl(), null, 'For the command line: the gateway to talk to.'),
  adminToken: setting(
    'SALLYPORT_ADMIN_TOKEN',
    adminToken(),
    null,
    'For the command line, with `SALLYPORT_URL`: the admin token (`spa_…`).',
    true,
  ),
  seal: setting(
    'SALLYPORT_SEAL',
    sealSecret(),
    null,
    'For the command line: the secret of the seal that keys are sealed to (`sps_…`), in place of asking for it.',
    true,
  ),
};

function setting<T, const D extends string | null>(
  name: string,
  kind: Kind<T>,
  fallback: D,
  doc: string,
  isSecret = false,
): Setting<T> & { readonly default: D } {
  return Object.freeze({ name, type: kind.type, parse: kind.parse, default: fallback, doc, isSecret });
}
