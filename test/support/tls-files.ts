import { copyFileSync, mkdtempSync, rmSync, chmodSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';

const folder = new URL('tls/', import.meta.url);
/** The certificate that renews: its own issuer. */
export const renewedCa = readFileSync(new URL('renewed.pem', folder), 'utf8');

/** Of the public providers in docs/providers.md: its own issuer. */
export const recipesCa = readFileSync(new URL('recipes.pem', folder), 'utf8');

export interface TlsFolder {
  readonly certFile: string;
  readonly keyFile: string;
  /** Settings of a gateway that speaks TLS with them. */
  readonly settings: Readonly<Record<'TLS_CERT_FILE' | 'TLS_KEY_FILE', string>>;
  putCert(name: 'leaf' | 'renewed'): void;
  putKey(name: 'leaf' | 'renewed'): void;
}

/** A certificate with its key in files of their own, as an operator keeps them. */
export function tlsFolder(t: Pick<Test, 'teardown'>): TlsFolder {
  const dir = mkdtempSync(path.join(tmpdir(), 'sallyport-tls-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const certFile = path.join(dir, 'cert.pem');
  const keyFile = path.join(dir, 'key.pem');
  const put = (from: string, file: string): void => {
    copyFileSync(new URL(from, folder), file);
    chmodSync(file, 0o600);
  };
  const putCert = (name: string): void => put(`${name}.pem`, certFile);
  const putKey = (name: string): void => put(`${name}.key`, keyFile);
  putCert('leaf');
  putKey('leaf');
  const settings = { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile };
  return Object.freeze({ certFile, keyFile, settings, putCert, putKey });
}
