import { createHash, createHmac, type Hash, type Hmac } from 'node:crypto';
import type { Exchange } from '../egress/exchange.ts';
import { secretBuffer, wipe } from '../secret.ts';
import { fromBase64, memberText, toBase64 } from './base64-bytes.ts';
import { decodeContext } from './context.ts';
import { frameBlob, unframeBlob } from './kek-blob.ts';
import type { HoldOff } from './kek-hold-off.ts';
import { kmsKeyId, type KmsPlace } from './kek-place.ts';
import { KekError, maxWrappedBytes, type KekProvider } from './kek-provider.ts';
import { proveKek } from './kek-self-test.ts';
import { unreachable } from './kek-transit.ts';
import { VaultError, type Kind } from './record.ts';

export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string | null;
}

const magic = 'SPA1';
/** KMS's own bound of a CiphertextBlob (docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html). */
const maxCiphertextBytes = 6144;

/**
 * One symmetric root key in AWS KMS, over its JSON API (API_Encrypt, API_Decrypt), signed by Signature Version 4. The record's context is
 * the EncryptionContext, in words, so that a key policy can name a workspace and CloudTrail shows which one was opened.
 */
export function createKmsKek(deps: {
  readonly place: KmsPlace;
  readonly exchange: Exchange;
  readonly credentials: AwsCredentials | null;
  readonly holdOff: HoldOff;
  readonly clock: () => number;
}): KekProvider {
  const { place, exchange, credentials, holdOff, clock } = deps;
  const id = kmsKeyId(place);
  const origin = place.endpoint ?? `https://kms.${place.region}.amazonaws.com`;
  let isClosed = false;
  // Loaded where there is a KMS key: who has none starts without these libraries.
  const signer = credentials === null ? null : loadSigner(place.region, credentials);

  const check = (asked: string): void => {
    if (isClosed || asked !== id) throw new KekError('wrong_key', `Root key ${asked} is not in the ring.`);
  };

  /** @returns the answer's member `name`, decoded; the caller's to wipe. */
  async function ask(action: 'Encrypt' | 'Decrypt', body: Buffer, name: string): Promise<Buffer> {
    if (signer === null) {
      throw new KekError('denied', `Root key ${id} needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.`, {
        isWide: true,
      });
    }
    const { sign, HttpRequest } = await signer;
    const signed = await sign(
      new HttpRequest({
        method: 'POST',
        protocol: new URL(origin).protocol,
        hostname: new URL(origin).hostname,
        path: '/',
        headers: {
          host: new URL(origin).host,
          'content-type': 'application/x-amz-json-1.1',
          'x-amz-target': `TrentService.${action}`,
        },
        body,
      }),
      { signingDate: new Date(clock()) },
    );
    const { host: _, authorization = '', ...headers } = signed.headers;
    const [scheme = '', ...rest] = authorization.split(' ');
    const answer = await exchange({
      origin,
      method: 'POST',
      path: '/',
      headers: Object.entries(headers).flat(),
      // Signature Version 4 has a comma between its members; the blank behind it is a habit.
      authorization: { scheme: `${scheme} `, credentials: rest.join('') },
      body,
    }).catch((error: unknown) => {
      throw unreachable(id, error);
    });
    try {
      if (answer.status !== 200) throw refusal(id, answer.status, answer.body);
      const text = memberText(answer.body, name);
      const bytes = text === null ? null : fromBase64(text);
      if (bytes === null) throw new KekError('unavailable', `AWS KMS answered for ${id} without ${name}.`);
      return bytes;
    } finally {
      wipe(answer.body);
    }
  }

  const provider: KekProvider = {
    scheme: 'kms',
    list: () => (isClosed ? [] : [id]),
    async wrap(asked: string, kind: Kind, context: Uint8Array, bytes: Uint8Array) {
      check(asked);
      if (bytes.byteLength > maxWrappedBytes) throw new VaultError('VAULT_FORMAT', 'the secret is too long');
      const text = toBase64(bytes);
      const body = bodyOf(place.keyId, 'Plaintext', text, context);
      wipe(text);
      try {
        return frameBlob(magic, kind, id, await holdOff.run(() => ask('Encrypt', body, 'CiphertextBlob')));
      } finally {
        wipe(body);
      }
    },
    async unwrap(asked: string, kind: Kind, context: Uint8Array, blob: Buffer) {
      check(asked);
      const ciphertext = unframeBlob(magic, kind, id, blob);
      if (ciphertext.length > maxCiphertextBytes)
        throw new VaultError('VAULT_FORMAT', 'the ciphertext is too long');
      const body = bodyOf(place.keyId, 'CiphertextBlob', toBase64(ciphertext), context);
      return holdOff.run(() => ask('Decrypt', body, 'Plaintext'));
    },
    selfTest: (asked, context) => proveKek(provider, asked, context),
    close() {
      isClosed = true;
    },
  };
  return Object.freeze(provider);
}

/** What each field of a context is called there. `kind` says which of the shapes it is. */
const fieldNames: Readonly<Record<string, readonly string[]>> = {
  ws: ['kind', 'deployment', 'workspace', 'version', 'rootKey'],
  canary: ['kind', 'deployment'],
  service: ['kind', 'deployment', 'workspace', 'purpose', 'id'],
};

/** KMS refuses an empty value: a field that says nothing is left out, and its absence says as much. */
export function encryptionContext(context: Uint8Array): Readonly<Record<string, string>> {
  const fields = decodeContext(context);
  const names = fieldNames[fields[0] ?? ''];
  if (names === undefined || names.length !== fields.length)
    throw new VaultError('VAULT_FORMAT', 'no context that a root key is used in');
  return Object.fromEntries(
    fields
      .map((field, i) => [`sallyport:${names[i] as string}`, field] as const)
      .filter(([, field]) => field !== ''),
  );
}

function bodyOf(keyId: string, name: string, text: Uint8Array, context: Uint8Array): Buffer {
  const head = Buffer.from(
    `{"KeyId":${JSON.stringify(keyId)},"EncryptionContext":${JSON.stringify(encryptionContext(context))},"${name}":"`,
  );
  const body = secretBuffer(head.length + text.byteLength + 2);
  body.set(head);
  body.set(text, head.length);
  body.write('"}', head.length + text.byteLength, 'latin1');
  return body;
}

/** By the `__type` of the answer (API_Encrypt, API_Decrypt and "Common Errors" of the KMS API reference). */
function refusal(id: string, status: number, body: Buffer): Error {
  const type = memberText(body, '__type')?.toString('latin1').split('#').at(-1) ?? '';
  switch (type) {
    case 'InvalidCiphertextException':
      return new VaultError('VAULT_TAMPERED', 'AWS KMS does not open the record in this place');
    case 'IncorrectKeyException':
      return new VaultError('VAULT_WRONG_KEY', 'the record was wrapped by another key of AWS KMS');
    case 'AccessDeniedException':
      return new KekError('denied', `AWS KMS denies root key ${id} for this record.`, { isWide: false });
    case 'DisabledException':
    case 'KMSInvalidStateException':
      return new KekError('disabled', `Root key ${id} is disabled in AWS KMS, or waits for its deletion.`);
    case 'NotFoundException':
    case 'InvalidKeyUsageException':
    case 'InvalidArnException':
      return new KekError('wrong_key', `AWS KMS has no root key ${id} that encrypts.`);
    case 'UnrecognizedClientException':
    case 'InvalidClientTokenId':
    case 'InvalidSignatureException':
    case 'SignatureDoesNotMatch':
    case 'IncompleteSignature':
    case 'MissingAuthenticationTokenException':
    case 'ExpiredTokenException':
    case 'OptInRequired':
      return new KekError(
        'denied',
        `AWS KMS refuses this gateway’s credentials for root key ${id} (${type}).`,
        {
          isWide: true,
        },
      );
    default:
      return new KekError('unavailable', `AWS KMS answers for root key ${id} with status ${status}.`);
  }
}

/** SHA-256 and HMAC-SHA256 as the signer asks for them. */
class Sha256 {
  #hash: Hash | Hmac;
  readonly #secret: string | Uint8Array | null;

  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    this.#secret = secret === undefined ? null : typeof secret === 'string' ? secret : bytesOf(secret);
    this.#hash = this.#fresh();
  }

  update(data: Uint8Array): void {
    this.#hash.update(data);
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }

  reset(): void {
    this.#hash = this.#fresh();
  }

  #fresh(): Hash | Hmac {
    return this.#secret === null ? createHash('sha256') : createHmac('sha256', this.#secret);
  }
}

function bytesOf(source: ArrayBuffer | ArrayBufferView): Uint8Array {
  return source instanceof ArrayBuffer
    ? new Uint8Array(source)
    : new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
}

/** Signature Version 4 with node:crypto's hashes. */
async function loadSigner(region: string, { accessKeyId, secretAccessKey, sessionToken }: AwsCredentials) {
  const [{ SignatureV4 }, { HttpRequest }] = await Promise.all([
    import('@smithy/signature-v4'),
    import('@smithy/protocol-http'),
  ]);
  const signer = new SignatureV4({
    service: 'kms',
    region,
    sha256: Sha256,
    applyChecksum: false,
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken === null ? {} : { sessionToken }) },
  });
  return {
    HttpRequest,
    sign: (request: InstanceType<typeof HttpRequest>, options: { readonly signingDate: Date }) =>
      signer.sign(request, options),
  };
}
