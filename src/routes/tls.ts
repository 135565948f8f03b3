import { constants, X509Certificate } from 'node:crypto';
import { readFileSync, statSync, type Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { RequestListener, ServerOptions } from 'node:http';
import { createServer, type Server } from 'node:https';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { type Config, refuseOpenFile } from '../config.ts';
import { SallyportError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';

type TlsConfig = Pick<Config, 'tlsCertFile' | 'tlsKeyFile' | 'tlsMin'>;

interface Files {
  /** PEM; the certificate first, then those between it and the root. */
  readonly certFile: string;
  /** PEM, not encrypted. */
  readonly keyFile: string;
}

/** One certificate for all listeners that speak TLS. */
export interface Tls {
  /** A server without a certificate yet: `start` comes before it listens. */
  createServer(options: ServerOptions, listener: RequestListener): Server;
  /** Reads the files and follows them from then on; again has no effect. @throws {SallyportError} CONFIG_INVALID */
  start(): void;
  /** Looks at the files now. A pair that cannot be used changes nothing and is logged. */
  refresh(): Promise<void>;
  stop(): void;
}

/** Renewed certificates have days to be noticed; a wrong one is mended by someone who waits and looks. */
const pollMs = 5000;
/** A client that does not come to the end of a handshake. */
const handshakeMs = 10_000;
const soonDays = 14;

/** For TLS 1.2: forward secrecy and AEAD alone (RFC 9325, 4.2). Those of 1.3 are all of that kind. */
const ciphers = [
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'TLS_AES_128_GCM_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

/** SSL_OP_CLEANSE_PLAINTEXT of openssl/ssl.h: what came in is wiped in OpenSSL's own buffer once it was read. Node has no name for it. */
const cleansePlaintext = 0x2;

interface Pair {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly fingerprint: string;
  readonly daysLeft: number;
}

/** Null: the settings name no certificate. */
export function createTls(
  config: TlsConfig,
  { log, now = Date.now, everyMs = pollMs }: { log: Log; now?: () => number; everyMs?: number },
): Tls | null {
  const files = filesOf(config);
  if (files === null) return null;
  const { certFile } = files;
  const servers = new Set<Server>();
  let pair: Pair | null = null;
  let seen = '';
  let timer: NodeJS.Timeout | null = null;

  const fixed: SecureContextOptions = {
    minVersion: config.tlsMin === '1.2' ? 'TLSv1.2' : 'TLSv1.3',
    ciphers,
    honorCipherOrder: true,
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION | cleansePlaintext,
  };

  function use(next: Pair): void {
    pair = next;
    for (const server of servers) server.setSecureContext({ ...fixed, cert: next.cert, key: next.key });
    const { fingerprint, daysLeft } = next;
    const told = { file: certFile, fingerprint, daysLeft };
    if (daysLeft > soonDays) log.info('tls.certificate', told);
    else log.warn(daysLeft < 0 ? 'tls.certificate-expired' : 'tls.certificate-expires-soon', told);
  }

  const refresh = async (): Promise<void> => {
    const states = await Promise.all(
      namesOf(files).map((file) => stat(file).then(stateText, () => stateText(undefined))),
    );
    const found = states.join('; ');
    if (found === seen || pair === null) return;
    // The state from before the files are read: what changes meanwhile is another one, and its turn comes.
    seen = found;
    try {
      const next = readPair(files, now());
      if (!next.cert.equals(pair.cert) || !next.key.equals(pair.key)) use(next);
    } catch (error) {
      log.error('tls.not-reloaded', {
        file: certFile,
        detail: `${(error as Error).message} The certificate in use stays.`,
      });
    }
  };

  return Object.freeze<Tls>({
    createServer(options, listener) {
      const server = createServer({ ...options, ...fixed, handshakeTimeout: handshakeMs }, listener);
      servers.add(server);
      if (pair !== null) server.setSecureContext({ ...fixed, cert: pair.cert, key: pair.key });
      return server;
    },
    start() {
      if (timer !== null) return;
      seen = namesOf(files)
        .map((file) => stateText(statSync(file, { throwIfNoEntry: false })))
        .join('; ');
      use(readPair(files, now()));
      timer = setInterval(() => void refresh(), everyMs).unref();
    },
    refresh,
    stop() {
      if (timer !== null) clearInterval(timer);
      timer = null;
    },
  });
}

/**
 * @returns how long the certificate is valid still; null: the settings name none
 * @throws {SallyportError} CONFIG_INVALID: what a gateway could not serve with.
 */
export function checkTls(config: TlsConfig): Pick<Pair, 'daysLeft'> | null {
  const files = filesOf(config);
  return files === null ? null : readPair(files, Date.now());
}

function filesOf({ tlsCertFile: certFile, tlsKeyFile: keyFile }: TlsConfig): Files | null {
  return certFile === null || keyFile === null ? null : { certFile, keyFile };
}

function readPair({ certFile, keyFile }: Files, nowMs: number): Pair {
  const cert = read('TLS_CERT_FILE', certFile);
  refuseOpenFile('TLS_KEY_FILE', keyFile);
  const key = read('TLS_KEY_FILE', keyFile);
  let first: X509Certificate;
  try {
    first = new X509Certificate(cert);
  } catch {
    throw invalid('TLS_CERT_FILE names a file that is no certificate in PEM.');
  }
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    const { code = 'unknown error' } = error as NodeJS.ErrnoException;
    throw invalid(
      code.includes('MISMATCH')
        ? 'TLS_KEY_FILE names a key that is not the certificate’s.'
        : `TLS_CERT_FILE and TLS_KEY_FILE cannot be used (${code}): both have to be PEM, the key without a passphrase.`,
    );
  }
  const daysLeft = Math.floor((first.validToDate.getTime() - nowMs) / 86_400_000);
  return { cert, key, fingerprint: first.fingerprint256, daysLeft };
}

function read(name: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    throw invalid(`${name} names a file that cannot be read (${code}).`);
  }
}

function namesOf({ certFile, keyFile }: Files): readonly string[] {
  return [certFile, keyFile];
}

/** Of what a link leads to, so that a Kubernetes secret that is exchanged whole is seen. */
function stateText(found: Stats | undefined): string {
  return found === undefined ? 'missing' : `${found.ino} ${found.size} ${found.mtimeMs} ${found.ctimeMs}`;
}

function invalid(sentence: string): SallyportError {
  return new SallyportError('CONFIG_INVALID', sentence);
}
