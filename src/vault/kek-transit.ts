import { EgressError } from '../egress/egress-error.ts';
import type { Exchange } from '../egress/exchange.ts';
import { secretBuffer, secretCopy, wipe } from '../secret.ts';
import { fromBase64, memberText, toBase64 } from './base64-bytes.ts';
import { frameBlob, unframeBlob } from './kek-blob.ts';
import type { HoldOff } from './kek-hold-off.ts';
import { transitKeyId, type TransitPlace } from './kek-place.ts';
import { KekError, maxWrappedBytes, type KekProvider } from './kek-provider.ts';
import { proveKek } from './kek-self-test.ts';
import { VaultError, type Kind } from './record.ts';

const magic = 'SPT1';

/**
 * One root key in a Transit engine of HashiCorp Vault (1.10 or newer) or OpenBao, over its HTTP API
 * (developer.hashicorp.com/vault/api-docs/secret/transit: encrypt and decrypt with `associated_data`, key types aes256-gcm96 and
 * chacha20-poly1305). The record's context is the associated data. Rotating the key there makes new versions (`vault:v2:…`), and old
 * ones open as long as `min_decryption_version` lets them.
 *
 * @param token  read at each request: an agent may renew it beside us.
 */
export function createTransitKek(deps: {
  readonly place: TransitPlace;
  readonly exchange: Exchange;
  readonly token: () => string | null;
  readonly holdOff: HoldOff;
}): KekProvider {
  const { place, exchange, token, holdOff } = deps;
  const id = transitKeyId(place);
  let isClosed = false;

  const check = (asked: string): void => {
    if (isClosed || asked !== id) throw new KekError('wrong_key', `Root key ${asked} is not in the ring.`);
  };

  /** @returns the answer's member `name`, a copy that is the caller's to wipe. */
  async function ask(action: 'encrypt' | 'decrypt', body: Buffer, name: string): Promise<Buffer> {
    const secret = token();
    if (secret === null) {
      throw new KekError('denied', `Root key ${id} needs a token: set SALLYPORT_TRANSIT_TOKEN_FILE.`, {
        isWide: true,
      });
    }
    const answer = await exchange({
      origin: place.address,
      method: 'POST',
      path: `/v1/${place.mount}/${action}/${place.key}`,
      headers: [
        'content-type',
        'application/json',
        'x-vault-request',
        'true',
        'x-vault-token',
        secret,
        ...(place.namespace === undefined ? [] : ['x-vault-namespace', place.namespace]),
      ],
      body,
    }).catch((error: unknown) => {
      throw unreachable(id, error);
    });
    try {
      if (answer.status !== 200) throw refusal(id, action, answer.status, answer.body);
      const text = memberText(answer.body, name);
      if (text === null)
        throw new KekError('unavailable', `The Transit engine of ${id} answered without ${name}.`);
      return secretCopy(text);
    } finally {
      wipe(answer.body);
    }
  }

  const provider: KekProvider = {
    scheme: 'transit',
    list: () => (isClosed ? [] : [id]),
    async wrap(asked: string, kind: Kind, context: Uint8Array, bytes: Uint8Array) {
      check(asked);
      if (bytes.byteLength > maxWrappedBytes) throw new VaultError('VAULT_FORMAT', 'the secret is too long');
      const plaintext = toBase64(bytes);
      const body = bodyOf('plaintext', plaintext, context);
      wipe(plaintext);
      try {
        return frameBlob(magic, kind, id, await holdOff.run(() => ask('encrypt', body, 'ciphertext')));
      } finally {
        wipe(body);
      }
    },
    async unwrap(asked: string, kind: Kind, context: Uint8Array, blob: Buffer) {
      check(asked);
      const ciphertext = unframeBlob(magic, kind, id, blob);
      // It goes into JSON as it is.
      if (!/^vault:v\d{1,10}:[A-Za-z0-9+/=]+$/.test(ciphertext.toString('latin1')))
        throw new VaultError('VAULT_FORMAT', 'not a ciphertext of a Transit engine');
      const text = await holdOff.run(() =>
        ask('decrypt', bodyOf('ciphertext', ciphertext, context), 'plaintext'),
      );
      try {
        const bytes = fromBase64(text);
        if (bytes === null) throw new VaultError('VAULT_FORMAT', 'the Transit engine answered no base64');
        return bytes;
      } finally {
        wipe(text);
      }
    },
    selfTest: (asked, context) => proveKek(provider, asked, context),
    close() {
      isClosed = true;
    },
  };
  return Object.freeze(provider);
}

/** `{"NAME":"TEXT","associated_data":"…"}` as bytes: of the plaintext there is never a string. */
function bodyOf(name: string, text: Uint8Array, context: Uint8Array): Buffer {
  const head = Buffer.from(`{"${name}":"`, 'latin1');
  const tail = Buffer.from(`","associated_data":"${Buffer.from(context).toString('base64')}"}`, 'latin1');
  const body = secretBuffer(head.length + text.byteLength + tail.length);
  body.set(head);
  body.set(text, head.length);
  body.set(tail, head.length + text.byteLength);
  return body;
}

/** Vault's status codes: developer.hashicorp.com/vault/api-docs, "HTTP status codes". Its messages are told to nobody. */
function refusal(id: string, action: string, status: number, body: Buffer): Error {
  const says = (text: string): boolean => body.includes(text, 0, 'latin1');
  if (status === 403 || (status === 400 && says('client token'))) {
    return new KekError('denied', `The Transit engine refuses this gateway’s token for root key ${id}.`, {
      // Policies there name keys, not records: the next record hears the same.
      isWide: true,
    });
  }
  if (status === 404 || (status === 400 && says('key not found')))
    return new KekError('wrong_key', `The Transit engine does not know root key ${id}.`);
  if (
    status === 400 &&
    (says('disallowed by policy') || says('min_decryption_version') || says('min_encryption_version'))
  )
    return new KekError('disabled', `The Transit engine has switched off the version of root key ${id}.`);
  if (status === 400 && says('does not support'))
    return new KekError(
      'wrong_key',
      `Root key ${id} is of a type that cannot bind a place (associated_data).`,
    );
  if (status === 400 && action === 'decrypt')
    return new VaultError('VAULT_TAMPERED', 'the Transit engine does not open the record in this place');
  return new KekError('unavailable', `The Transit engine of root key ${id} answers with status ${status}.`);
}

export function unreachable(id: string, error: unknown): KekError {
  const why = error instanceof EgressError ? ` (${error.code})` : '';
  return new KekError('unavailable', `The key service of root key ${id} does not answer${why}.`, {
    cause: error,
  });
}
