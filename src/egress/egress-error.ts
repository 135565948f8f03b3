import { SallyportError } from '../errors.ts';

export type EgressCode =
  | 'UPSTREAM_UNREACHABLE'
  | 'UPSTREAM_CONNECT_TIMEOUT'
  | 'UPSTREAM_FIRST_BYTE_TIMEOUT'
  | 'UPSTREAM_IDLE_TIMEOUT'
  | 'UPSTREAM_ERROR'
  | 'EGRESS_REFUSED'
  | 'KEY_ORIGIN'
  | 'KEY_INVALID'
  | 'ABORTED';

export interface Reached {
  /** The request's head was handed to the provider's connection: it may have been seen, and charged. */
  readonly reachedUpstream: boolean;
  /** A connection that had served before died before any byte of the answer: the one failure after which a repeat is safe. */
  readonly stale: boolean;
  /** Why the provider's answer cannot be relayed, or the provider not be reached: the end of a sentence about it, for whoever called. */
  readonly fault?: string;
}

const untouched: Reached = { reachedUpstream: false, stale: false };

/** How a call that left, or should have left, failed. Never carries a secret: nothing above egress/ has seen one. */
export class EgressError extends Error {
  override readonly name = 'EgressError';
  readonly code: EgressCode;
  readonly reachedUpstream: boolean;
  readonly stale: boolean;
  readonly fault: string | null;

  constructor(code: EgressCode, message: string, reached: Reached = untouched, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.reachedUpstream = reached.reachedUpstream;
    this.stale = reached.stale;
    this.fault = reached.fault ?? null;
  }
}

export function lostAtOnce(): EgressError {
  return new EgressError('UPSTREAM_UNREACHABLE', 'The provider closed the connection at once.');
}

/** Of undici and of the socket: the connection went away (GATEWAY.md, "Stale keep-alive sockets"). */
const lostConnection = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE']);
/** undici would not send it as it is: a bad path, method, header name, header value or length. */
const unsendable = new Set([
  'UND_ERR_INVALID_ARG',
  'UND_ERR_NOT_SUPPORTED',
  'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH',
]);

export interface CallState {
  readonly headWritten: boolean;
  /** Any byte of an answer, an informational one too. */
  readonly isAnswered: boolean;
  readonly wasUsedBefore: boolean;
  /** In memory: null or a Buffer, so it can be sent again. */
  readonly isRepeatable: boolean;
}

function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' ? code : '';
}

function faultOf(error: unknown, code: string): string | null {
  if (code === 'UND_ERR_HEADERS_OVERFLOW') return 'its head is larger than 16 KiB';
  // undici's parser gives most of its errors no code, and this one to whatever it finds once a length was announced.
  const isGarbled =
    code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH' ||
    (error instanceof Error && error.name === 'HTTPParserError');
  return isGarbled ? 'it is not valid HTTP, or not as long as it says' : null;
}

const unsigned = 'nobody who is trusted here has signed its certificate (NODE_EXTRA_CA_CERTS names others)';
/** Of the resolver and of OpenSSL (nodejs.org/api/tls.html, "X509 certificate error codes"): what whoever keeps that origin can mend. */
const unreachable: Readonly<Record<string, string>> = {
  ENOTFOUND: 'its name is not known',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet',
  DEPTH_ZERO_SELF_SIGNED_CERT: unsigned,
  SELF_SIGNED_CERT_IN_CHAIN: unsigned,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: unsigned,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: unsigned,
};

/** What an error of undici, of the socket or of ours means for the call. */
export function explain(error: unknown, call: CallState): EgressError {
  if (error instanceof EgressError) return error;
  const code = codeOf(error);
  const reached = {
    reachedUpstream: call.headWritten,
    stale:
      call.headWritten &&
      !call.isAnswered &&
      call.wasUsedBefore &&
      call.isRepeatable &&
      lostConnection.has(code),
  };
  const name = code === '' ? '' : ` (${code})`;
  if (code === 'UND_ERR_CONNECT_TIMEOUT')
    return new EgressError(
      'UPSTREAM_CONNECT_TIMEOUT',
      `No connection to the provider in time${name}.`,
      reached,
      error,
    );
  if (code === 'UND_ERR_ABORTED') return new EgressError('ABORTED', 'The call was given up.', reached, error);
  if (!call.headWritten && unsendable.has(code))
    return new EgressError('EGRESS_REFUSED', `The request cannot be sent as it is${name}.`, reached, error);
  if (!call.headWritten) {
    const why = Object.hasOwn(unreachable, code) ? (unreachable[code] as string) : null;
    const message = `The provider cannot be reached${name}.`;
    return new EgressError('UPSTREAM_UNREACHABLE', message, withFault(reached, why), error);
  }
  const message = `The connection to the provider failed${name}.`;
  return new EgressError('UPSTREAM_ERROR', message, withFault(reached, faultOf(error, code)), error);
}

function withFault(reached: Reached, fault: string | null): Reached {
  return fault === null ? reached : { ...reached, fault };
}

/** The credential was not let out: KEY_ORIGIN and KEY_INVALID keep their code and sentence, anything else says nothing of itself. */
export function keyRefusal(error: unknown): EgressError {
  if (error instanceof EgressError) return error;
  if (error instanceof SallyportError && (error.code === 'KEY_ORIGIN' || error.code === 'KEY_INVALID'))
    return new EgressError(error.code, error.message);
  return new EgressError('KEY_INVALID', 'The provider key could not be opened.');
}
