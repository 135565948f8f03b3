/**
 * Every error that leaves this program has a code of this table (docs/errors.md is compared with it by a test).
 * `retry`: could the same request, sent again later, succeed? Where not, answers carry `x-should-retry: false`, because the
 * OpenAI and Anthropic SDKs otherwise send a 409 or 502 three times.
 */
interface ErrorRow {
  readonly status: number;
  readonly retry: boolean;
  readonly title: string;
  readonly fix: string;
}

const rows = {
  AUTH_MISSING: row(
    401,
    false,
    'No gateway token',
    'Send a gateway token (spt_…) where your SDK puts its API key.',
  ),
  AUTH_INVALID: row(
    401,
    false,
    'Token not accepted',
    'Check the token, or make a new one: bin/sallyport tokens create --name app',
  ),
  FORBIDDEN: row(403, false, 'Not allowed', 'Ask an owner of the workspace for the right to do this.'),
  MODEL_FORBIDDEN: row(
    403,
    false,
    'Model not allowed for this token',
    'Use a model that the token allows, or have the token changed.',
  ),
  ENDPOINT_FORBIDDEN: row(403, false, 'Endpoint not allowed', 'This endpoint is not relayed for this token.'),
  SEAL_REQUIRED: row(
    403,
    false,
    'The key is sealed',
    'Send the seal with the call: spt_….sps_…, or x-sallyport-seal.',
  ),
  SEAL_WRONG: row(403, false, 'The seal does not open this key', 'Send the seal that the key was sealed to.'),
  EGRESS_REFUSED: row(
    403,
    false,
    'Origin refused',
    'Use a public https origin, or have the operator list it in SALLYPORT_ALLOW_ORIGINS.',
  ),
  TLS_REQUIRED: row(
    403,
    false,
    'A key may not travel in clear',
    'Use https, loopback or the admin socket; or set ALLOW_PLAIN_HTTP=true.',
  ),
  VALUE_NEVER_RETURNED: row(
    403,
    false,
    'Values are never returned',
    'Store the key anew if you have lost it; take it from the provider.',
  ),
  NOT_FOUND: row(404, false, 'Not found', 'Check the path and the id.'),
  MODEL_UNKNOWN: row(
    404,
    false,
    'Unknown model',
    'Name the provider before the model: openai/gpt-4o, groq/llama-3.3-70b-versatile.',
  ),
  REQUEST_INVALID: row(400, false, 'Request not valid', 'Mend the request as the message says.'),
  MODEL_DIALECT: row(
    400,
    false,
    'This base URL does not serve that model',
    'Use the base URL of the provider that the message names.',
  ),
  REQUEST_TIMEOUT: row(
    408,
    true,
    'The body came too slowly',
    'Send it faster, or less of it: docs/configuration.md says what is waited for.',
  ),
  BODY_TOO_LARGE: row(
    413,
    false,
    'Body too large',
    'Send less, or raise MAX_JSON_BYTES or MAX_UPLOAD_BYTES.',
  ),
  KEY_MISSING: row(
    409,
    false,
    'No provider key stored',
    'Store one: bin/sallyport keys add --provider openai --name main',
  ),
  KEY_EXPIRED: row(409, false, 'The provider key has expired', 'Store a new value, or move its expiresAt.'),
  KEY_DISABLED: row(
    409,
    false,
    'The provider key is disabled',
    'Enable it: PATCH /api/api-keys/{id} {"isActive":true}',
  ),
  KEY_INVALID: row(409, false, 'The provider key cannot be used', 'Store the key anew.'),
  KEY_ORIGIN: row(
    409,
    false,
    'The key is not for this origin',
    'Store the key anew for the origin in force: bin/sallyport doctor names it.',
  ),
  CONFLICT: row(409, false, 'Conflict', 'Read the resource again, then repeat.'),
  ALREADY_INITIALISED: row(
    409,
    false,
    'Already initialised',
    'Nothing was changed. A lost admin token: bin/sallyport tokens create --admin --name NAME',
  ),
  CHECKPOINT_PENDING: row(
    409,
    true,
    'Under no checkpoint yet',
    'Ask again when retry-after says: a checkpoint is written every minute.',
  ),
  PRECONDITION_FAILED: row(412, false, 'Changed meanwhile', 'Read the resource again and send its new etag.'),
  KEY_FORMAT: row(
    422,
    false,
    'Not the shape of this provider’s keys',
    'Check what was pasted; force: true stores it anyway.',
  ),
  RATE_LIMITED: row(429, true, 'Too many requests', 'Wait as long as retry-after says.'),
  BUDGET_EXHAUSTED: row(429, false, 'Budget used up', 'Wait for the next window or have the budget raised.'),
  CLIENT_CLOSED: row(499, false, 'The client went away', 'Only in the journal.'),
  CLIENT_TOO_SLOW: row(
    499,
    false,
    'The client took nothing for too long',
    'Only in the journal; the limit is writeIdle.',
  ),
  UPSTREAM_AUTH: row(
    502,
    false,
    'The provider refused the stored key',
    'Its owner has to replace it: bin/sallyport keys test ID shows more.',
  ),
  UPSTREAM_RATE_LIMITED: row(
    429,
    true,
    'The provider is rate limiting this key',
    'Wait as long as retry-after says.',
  ),
  UPSTREAM_REJECTED: row(
    400,
    false,
    'The provider rejected the request',
    'The provider’s own message is the body.',
  ),
  UPSTREAM_OVERLOADED: row(503, true, 'The provider is overloaded', 'Try again a little later.'),
  UPSTREAM_UNREACHABLE: row(
    502,
    true,
    'The provider cannot be reached',
    'Check its status page and this host’s way out.',
  ),
  UPSTREAM_ERROR: row(502, true, 'The provider failed', 'Try again; its status page may say more.'),
  UPSTREAM_TIMEOUT: row(504, true, 'The provider itself timed out', 'Try again, or stream the answer.'),
  UPSTREAM_CONNECT_TIMEOUT: row(
    504,
    true,
    'No connection to the provider in time',
    'Check its status page and this host’s way out.',
  ),
  UPSTREAM_FIRST_BYTE_TIMEOUT: row(
    504,
    true,
    'The provider did not begin to answer in time',
    'Try again, or stream the answer; the limit is firstByte.',
  ),
  UPSTREAM_IDLE_TIMEOUT: row(
    504,
    true,
    'The provider stopped in the middle of its answer',
    'What came so far is not the whole answer; ask again. The limit is betweenBytes.',
  ),
  CALL_TIMEOUT: row(
    504,
    false,
    'The call took longer than it may',
    'Ask for less at once, or have the token’s total limit raised.',
  ),
  UPSTREAM_STREAM_BROKEN: row(
    502,
    true,
    'The provider’s answer broke off',
    'What came so far is not the whole answer; ask again.',
  ),
  LOOP_DETECTED: row(508, false, 'A call to ourselves', 'Give a provider’s origin, not this gateway’s.'),
  JOURNAL_UNAVAILABLE: row(
    503,
    true,
    'The journal cannot be written',
    'Check the disk of DATA_DIR; no key is opened without a record.',
  ),
  VAULT_SEALED: row(503, true, 'The vault is closed', 'Check the root key: bin/sallyport doctor'),
  AUTH_UNAVAILABLE: row(
    503,
    true,
    'Tokens cannot be checked now',
    'The database is out of reach; try again shortly.',
  ),
  SHUTTING_DOWN: row(503, true, 'Shutting down', 'Try again shortly.'),
  GATEWAY_UNREACHABLE: row(
    503,
    true,
    'The gateway cannot be reached',
    'Start it with npm start, or check --url.',
  ),
  INTERNAL: row(500, true, 'A fault of the gateway', 'Look for the request id in the gateway’s log.'),
  CONFIG_INVALID: row(
    500,
    false,
    'Configuration',
    'Mend the setting that the message names; docs/configuration.md lists them all.',
  ),
} as const satisfies Record<string, ErrorRow>;

function row(status: number, retry: boolean, title: string, fix: string): ErrorRow {
  return { status, retry, title, fix };
}

export type ErrorCode = keyof typeof rows;
export const errorTable: Readonly<Record<ErrorCode, ErrorRow>> = rows;

export interface ErrorOptions {
  /** Replaces the table's fix where there is something more exact to say. */
  readonly fix?: string;
  /** Seconds, for `retry-after`. */
  readonly retryAfter?: number;
  /** Validation errors: JSON pointers into the request. */
  readonly errors?: readonly { readonly path: string; readonly message: string }[];
  readonly cause?: unknown;
}

/** An error with a code of the table. `message` is written for whoever reads the answer and never carries a secret. */
export class SallyportError extends Error {
  override readonly name = 'SallyportError';
  readonly code: ErrorCode;
  readonly fix: string;
  readonly retryAfter: number | null;
  readonly errors: readonly { readonly path: string; readonly message: string }[];

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.fix = options.fix ?? errorTable[code].fix;
    this.retryAfter = options.retryAfter ?? null;
    this.errors = options.errors ?? [];
  }

  get status(): number {
    return errorTable[this.code].status;
  }
}
