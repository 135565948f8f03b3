import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { startKeyService, type KeyService, type ServiceAnswer, type ServiceRequest } from './key-service.ts';

/**
 * A stand-in for the Transit engine of HashiCorp Vault and OpenBao, written from its API's description (api-docs/secret/transit), because
 * no OpenBao can be had where the tests run.
 *
 * Faked: `POST /v1/MOUNT/{encrypt,decrypt}/KEY` with `plaintext`, `ciphertext` and `associated_data`; AES-256-GCM as key type
 * aes256-gcm96 (`vault:vN:` and base64 of nonce, ciphertext, tag); key versions and `min_decryption_version`; the token, the namespace;
 * 403 for a wrong token, 404 for another mount, 400 for what does not open, 503 while sealed; the messages as far as the client reads them.
 * Not faked: policies, key derivation, batches, leases and renewal, standby nodes and their redirects, quotas, audit. An engine from before
 * `associated_data` is `ignoresAssociatedData`.
 */
export interface TransitFake extends KeyService {
  readonly mount: string;
  readonly key: string;
  token: string;
  isSealed: boolean;
  ignoresAssociatedData: boolean;
  minDecryptionVersion: number;
  /** As `POST /transit/keys/KEY/rotate`. */
  rotate(): void;
}

interface Body {
  readonly plaintext?: string;
  readonly ciphertext?: string;
  readonly associated_data?: string;
}

export async function startTransit(
  t: { teardown(work: () => unknown): void },
  options: { readonly namespace?: string } = {},
): Promise<TransitFake> {
  const [mount, key] = ['transit', 'sallyport'];
  const versions = [randomBytes(32)];
  const service = await startKeyService(t, answer);
  const fake: TransitFake = Object.assign(service, {
    mount,
    key,
    token: `hvs.${randomBytes(18).toString('base64url')}`,
    isSealed: false,
    ignoresAssociatedData: false,
    minDecryptionVersion: 1,
    rotate: () => void versions.push(randomBytes(32)),
  });
  return fake;

  function answer({ method, path, headers, body }: ServiceRequest): ServiceAnswer {
    if (fake.isSealed) return refuse(503, 'Vault is sealed');
    if (headers['x-vault-token'] !== fake.token || headers['x-vault-namespace'] !== options.namespace)
      return refuse(403, '2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n');
    const [, action] = new RegExp(`^/v1/${mount}/(encrypt|decrypt)/`).exec(path) ?? [];
    if (action === undefined || method !== 'POST')
      return refuse(404, `no handler for route "${path.slice(4)}"`);
    if (!path.endsWith(`/${key}`)) return refuse(400, 'encryption key not found');
    const asked = JSON.parse(body.toString()) as Body;
    const aad = fake.ignoresAssociatedData
      ? Buffer.alloc(0)
      : Buffer.from(asked.associated_data ?? '', 'base64');
    return action === 'encrypt' ? encrypt(asked, aad) : decrypt(asked, aad);
  }

  function encrypt({ plaintext = '' }: Body, aad: Buffer): ServiceAnswer {
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', versions.at(-1) as Buffer, nonce, {
      authTagLength: 16,
    }).setAAD(aad);
    const sealed = Buffer.concat([
      nonce,
      cipher.update(Buffer.from(plaintext, 'base64')),
      cipher.final(),
      cipher.getAuthTag(),
    ]);
    return ok({
      ciphertext: `vault:v${versions.length}:${sealed.toString('base64')}`,
      key_version: versions.length,
    });
  }

  function decrypt({ ciphertext = '' }: Body, aad: Buffer): ServiceAnswer {
    const [, version = '0', text = ''] = /^vault:v(\d+):(.+)$/.exec(ciphertext) ?? [];
    if (Number(version) < fake.minDecryptionVersion)
      return refuse(400, 'ciphertext or signature version is disallowed by policy (too old)');
    const held = versions[Number(version) - 1];
    if (held === undefined) return refuse(400, 'invalid ciphertext: no prefix');
    const bytes = Buffer.from(text, 'base64');
    try {
      const cipher = createDecipheriv('aes-256-gcm', held, bytes.subarray(0, 12), { authTagLength: 16 })
        .setAAD(aad)
        .setAuthTag(bytes.subarray(-16));
      const plaintext = Buffer.concat([cipher.update(bytes.subarray(12, -16)), cipher.final()]);
      return ok({ plaintext: plaintext.toString('base64') });
    } catch {
      return refuse(400, 'invalid ciphertext: unable to decrypt');
    }
  }
}

function ok(data: object): ServiceAnswer {
  const rest = {
    lease_id: '',
    renewable: false,
    lease_duration: 0,
    wrap_info: null,
    warnings: null,
    auth: null,
  };
  return { status: 200, body: JSON.stringify({ request_id: '8f8e', ...rest, data }) };
}

function refuse(status: number, error: string): ServiceAnswer {
  return { status, body: `${JSON.stringify({ errors: [error] })}\n` };
}
