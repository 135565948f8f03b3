import { spawnSync } from 'node:child_process';
import path from 'node:path';

export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
}

/** A certificate for 127.0.0.1 that is its own authority, in `folder`. Null where openssl is not installed. */
export function makeCertificate(folder: string): Certificate | null {
  const [certFile, keyFile] = [path.join(folder, 'stand-in.pem'), path.join(folder, 'stand-in.key')];
  const options = '-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=bench';
  const name = 'subjectAltName=IP:127.0.0.1';
  const args = ['req', ...options.split(' '), '-addext', name, '-keyout', keyFile, '-out', certFile];
  const { status } = spawnSync('openssl', args, { stdio: 'ignore' });
  return status === 0 ? { certFile, keyFile } : null;
}
