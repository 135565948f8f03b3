import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  randomBytes,
  randomUUID,
} from 'node:crypto';
import { startKeyService, type KeyService, type ServiceAnswer, type ServiceRequest } from './key-service.ts';

/**
 * A stand-in for AWS KMS, written from its API reference (API_Encrypt, API_Decrypt, "Common Errors") and from the description of Signature
 * Version 4 ("Create a signed AWS API request"), whose check here shares no code with the client.
 *
 * Faked: `TrentService.Encrypt` and `.Decrypt` of one symmetric key with KeyId and EncryptionContext (order-free, bound as authenticated
 * data); signature, credential scope, session token, a clock skew of at most 5 minutes; a key that is disabled or waits for deletion; a
 * policy that denies one workspace by its encryption context; throttling; errors with `__type` and their statuses.
 * Not faked: IAM and grants, aliases, other keys and algorithms, automatic key rotation, quotas by second, CloudTrail.
 */
export interface KmsFake extends KeyService {
  readonly region: string;
  readonly keyId: string;
  readonly credentials: {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken: string | null;
  };
  state: 'Enabled' | 'Disabled' | 'PendingDeletion' | 'Gone';
  isThrottling: boolean;
  /** A workspace's id that the key's policy denies. */
  deniedWorkspace: string | null;
}

interface Body {
  readonly KeyId?: string;
  readonly Plaintext?: string;
  readonly CiphertextBlob?: string;
  readonly EncryptionContext?: Readonly<Record<string, string>>;
}

export async function startKms(
  t: { teardown(work: () => unknown): void },
  options: { readonly now?: () => number; readonly sessionToken?: string } = {},
): Promise<KmsFake> {
  const now = options.now ?? Date.now;
  const service = await startKeyService(t, answer);
  const key = randomBytes(32);
  const fake: KmsFake = Object.assign(service, {
    region: 'eu-central-1',
    keyId: randomUUID(),
    credentials: {
      accessKeyId: 'AKIDEXAMPLE0TEST0000',
      secretAccessKey: randomBytes(30).toString('base64'),
      sessionToken: options.sessionToken ?? null,
    },
    state: 'Enabled' as const,
    isThrottling: false,
    deniedWorkspace: null,
  });
  return fake;

  function answer(request: ServiceRequest): ServiceAnswer {
    const wrong = signatureFault(request, fake, now());
    if (wrong !== null) return refuse(400, wrong);
    if (fake.isThrottling) return refuse(400, 'ThrottlingException');
    const asked = JSON.parse(request.body.toString()) as Body;
    if (asked.KeyId !== fake.keyId || fake.state === 'Gone') return refuse(400, 'NotFoundException');
    const context = asked.EncryptionContext ?? {};
    if (Object.values(context).some((value) => value === '')) return refuse(400, 'ValidationException');
    if (fake.deniedWorkspace !== null && context['sallyport:workspace'] === fake.deniedWorkspace)
      return refuse(400, 'AccessDeniedException');
    if (fake.state === 'Disabled') return refuse(400, 'DisabledException');
    if (fake.state === 'PendingDeletion') return refuse(400, 'KMSInvalidStateException');
    const aad = Buffer.from(JSON.stringify(Object.entries(context).toSorted(([a], [b]) => (a < b ? -1 : 1))));
    switch (request.headers['x-amz-target']) {
      case 'TrentService.Encrypt':
        return encrypt(asked, aad);
      case 'TrentService.Decrypt':
        return decrypt(asked, aad);
      default:
        return refuse(400, 'UnknownOperationException');
    }
  }

  function encrypt({ Plaintext = '' }: Body, aad: Buffer): ServiceAnswer {
    const bytes = Buffer.from(Plaintext, 'base64');
    if (bytes.length < 1 || bytes.length > 4096) return refuse(400, 'ValidationException');
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 }).setAAD(aad);
    const blob = Buffer.concat([nonce, cipher.update(bytes), cipher.final(), cipher.getAuthTag()]);
    return ok({
      CiphertextBlob: blob.toString('base64'),
      EncryptionAlgorithm: 'SYMMETRIC_DEFAULT',
      KeyId: fake.keyId,
    });
  }

  function decrypt({ CiphertextBlob = '' }: Body, aad: Buffer): ServiceAnswer {
    const blob = Buffer.from(CiphertextBlob, 'base64');
    try {
      const cipher = createDecipheriv('aes-256-gcm', key, blob.subarray(0, 12), { authTagLength: 16 })
        .setAAD(aad)
        .setAuthTag(blob.subarray(-16));
      const plaintext = Buffer.concat([cipher.update(blob.subarray(12, -16)), cipher.final()]);
      return ok({
        EncryptionAlgorithm: 'SYMMETRIC_DEFAULT',
        KeyId: fake.keyId,
        Plaintext: plaintext.toString('base64'),
      });
    } catch {
      return refuse(400, 'InvalidCiphertextException');
    }
  }
}

/** The signature made anew from the request as it came. @returns the error's type, or null. */
function signatureFault(
  { method, path, headers, body }: ServiceRequest,
  { credentials, region }: Pick<KmsFake, 'credentials' | 'region'>,
  now: number,
): string | null {
  const match =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/kms\/aws4_request, *SignedHeaders=([a-z0-9;-]+), *Signature=([0-9a-f]{64})$/.exec(
      headers.authorization ?? '',
    );
  if (match === null) return 'IncompleteSignature';
  const [, accessKeyId, day = '', signedRegion, names = '', signature] = match;
  if (accessKeyId !== credentials.accessKeyId) return 'UnrecognizedClientException';
  if ((headers['x-amz-security-token'] ?? null) !== credentials.sessionToken)
    return 'UnrecognizedClientException';
  const time = String(headers['x-amz-date']);
  const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(time) ?? [];
  const at = Date.parse(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`);
  if (!(Math.abs(at - now) < 300_000) || !time.startsWith(day) || signedRegion !== region)
    return 'InvalidSignatureException';
  const signed = names.split(';');
  const needed = [
    'host',
    'x-amz-date',
    'x-amz-target',
    ...(credentials.sessionToken === null ? [] : ['x-amz-security-token']),
  ];
  if (needed.some((name) => !signed.includes(name))) return 'IncompleteSignature';
  const canonical = [
    method,
    path,
    '',
    ...signed.map((name) => `${name}:${String(headers[name]).trim().replaceAll(/ +/g, ' ')}`),
    '',
    names,
    createHash('sha256').update(body).digest('hex'),
  ].join('\n');
  const scope = `${day}/${region}/kms/aws4_request`;
  const text = ['AWS4-HMAC-SHA256', time, scope, createHash('sha256').update(canonical).digest('hex')].join(
    '\n',
  );
  let key: string | Buffer = `AWS4${credentials.secretAccessKey}`;
  for (const part of [day, region, 'kms', 'aws4_request'])
    key = createHmac('sha256', key).update(part).digest();
  return createHmac('sha256', key).update(text).digest('hex') === signature
    ? null
    : 'InvalidSignatureException';
}

function ok(body: object): ServiceAnswer {
  return { status: 200, body: JSON.stringify(body) };
}

function refuse(status: number, type: string): ServiceAnswer {
  return { status, body: JSON.stringify({ __type: `com.amazonaws.kms#${type}`, message: 'no' }) };
}
