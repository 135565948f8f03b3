import { createHash } from 'node:crypto';
import { isLoopbackName } from '../egress/exchange.ts';
import { encodeContext } from './context.ts';

/** Where a root key lives outside. Not a secret: it stands in the keyring, in answers of the API and in the documentation. */
export interface TransitPlace {
  /** Origin of the server: `https://vault.internal:8200`. */
  readonly address: string;
  /** Of the Transit engine: `transit`. */
  readonly mount: string;
  readonly key: string;
  readonly namespace?: string;
}

export interface KmsPlace {
  readonly region: string;
  /** A key id or its ARN; never an alias, which can be pointed at another key. */
  readonly keyId: string;
  /** In place of `https://kms.REGION.amazonaws.com`. */
  readonly endpoint?: string;
}

const segment = '[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}';
const segments = new RegExp(`^${segment}(?:/${segment}){0,7}$`);
const keyName = new RegExp(`^${segment}$`);
const kmsKey =
  /^(?:arn:aws[a-z-]*:kms:[a-z0-9-]{1,32}:\d{12}:key\/)?(?:mrk-[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;

/** @returns the place in its one form, or a sentence that says what is wrong with it. */
export function readTransitPlace(value: unknown): TransitPlace | string {
  if (!isObjectOf(value, ['address', 'mount', 'key', 'namespace']))
    return 'a Transit key is {"address","mount","key"} and "namespace" where there is one';
  const { address, mount, key, namespace } = value;
  const origin = serviceOrigin(address);
  if (origin === null)
    return 'a Transit address is an origin on https, or on loopback: https://vault.internal:8200';
  if (typeof mount !== 'string' || !segments.test(mount)) return 'a Transit mount is a path like transit';
  if (typeof key !== 'string' || !keyName.test(key))
    return 'a Transit key’s name is letters, digits, _, - and .';
  if (namespace === undefined) return Object.freeze({ address: origin, mount, key });
  if (typeof namespace !== 'string' || !segments.test(namespace))
    return 'a namespace is a path like admin/team, without a slash at its end';
  return Object.freeze({ address: origin, mount, key, namespace });
}

/** @returns the place in its one form, or a sentence that says what is wrong with it. */
export function readKmsPlace(value: unknown): KmsPlace | string {
  if (!isObjectOf(value, ['region', 'keyId', 'endpoint']))
    return 'a KMS key is {"region","keyId"} and "endpoint" where it is not Amazon’s own';
  const { region, keyId, endpoint } = value;
  if (typeof region !== 'string' || !/^[a-z0-9-]{1,32}$/.test(region))
    return 'a KMS region is a word like eu-central-1';
  if (typeof keyId !== 'string' || !kmsKey.test(keyId))
    return 'a KMS key is named by its key id or ARN, not by an alias, which can be pointed at another key';
  if (endpoint === undefined) return Object.freeze({ region, keyId });
  const origin = serviceOrigin(endpoint);
  if (origin === null) return 'a KMS endpoint is an origin on https, or on loopback';
  return Object.freeze({ region, keyId, endpoint: origin });
}

/** `t1` and 20 hex digits of SHA-256 over the place: a key cannot stand under another one's name. */
export function transitKeyId({ address, mount, key, namespace = '' }: TransitPlace): string {
  return idOf('t1', ['transit', address, mount, key, namespace]);
}

/** `a1` and 20 hex digits, as above. */
export function kmsKeyId({ region, keyId, endpoint = '' }: KmsPlace): string {
  return idOf('a1', ['kms', region, keyId, endpoint]);
}

/** One line for people. */
export function placeText(place: TransitPlace | KmsPlace): string {
  if ('mount' in place) {
    const namespace = place.namespace === undefined ? '' : ` (namespace ${place.namespace})`;
    return `${place.address} ${place.mount}/${place.key}${namespace}`;
  }
  return `${place.keyId} in ${place.region}${place.endpoint === undefined ? '' : ` at ${place.endpoint}`}`;
}

function idOf(prefix: string, fields: readonly string[]): string {
  return `${prefix}${createHash('sha256').update(encodeContext(fields)).digest('hex').slice(0, 20)}`;
}

function serviceOrigin(value: unknown): string | null {
  if (typeof value !== 'string' || value.length > 300 || !URL.canParse(value)) return null;
  const url = new URL(value);
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopbackName(url.hostname))) return null;
  const isBare = url.username === '' && url.password === '' && url.pathname === '/' && !/[?#@\\]/.test(value);
  return isBare ? url.origin : null;
}

function isObjectOf(value: unknown, names: readonly string[]): value is Readonly<Record<string, unknown>> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.keys(value).every((name) => names.includes(name))
  );
}
