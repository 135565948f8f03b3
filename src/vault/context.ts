/**
 * The place of a sealed record, as bytes for its authenticated data: fields with a u32 big-endian length before each, so that no two
 * lists of fields make the same bytes. Labels, status and tags stay out: they may change without opening anything.
 */
export function encodeContext(fields: readonly string[]): Buffer {
  const parts: Buffer[] = [];
  for (const field of fields) {
    const bytes = Buffer.from(field, 'utf8');
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    parts.push(length, bytes);
  }
  return Buffer.concat(parts);
}

export interface WorkspaceKeyPlace {
  readonly deploymentId: string;
  readonly workspaceId: string;
  readonly version: number;
  readonly rootKeyId: string;
}

/** Kind 1, root key → workspace key. */
export function workspaceKeyContext(place: WorkspaceKeyPlace): Buffer {
  const { deploymentId, workspaceId, version, rootKeyId } = place;
  return encodeContext(['ws', deploymentId, workspaceId, decimal(version), rootKeyId]);
}

export interface DataKeyPlace {
  readonly deploymentId: string;
  readonly workspaceId: string;
  readonly keyId: string;
  readonly version: number;
}

/** Kind 2, workspace key → data key. */
export function dataKeyContext(place: DataKeyPlace): Buffer {
  const { deploymentId, workspaceId, keyId, version } = place;
  return encodeContext(['dk', deploymentId, workspaceId, keyId, decimal(version)]);
}

export interface PayloadPlace extends DataKeyPlace {
  readonly provider: string;
  readonly protection: string;
}

/** Kind 3, data key → payload. */
export function payloadContext(place: PayloadPlace): Buffer {
  const { deploymentId, workspaceId, keyId, version, provider, protection } = place;
  return encodeContext(['payload', deploymentId, workspaceId, keyId, decimal(version), provider, protection]);
}

/** Kind 4, root key → canary. */
export function canaryContext(deploymentId: string): Buffer {
  return encodeContext(['canary', deploymentId]);
}

/** Kind 5: secrets of the service itself. `workspaceId` is empty for those of the deployment. */
export function serviceContext(
  deploymentId: string,
  workspaceId: string,
  purpose: string,
  id: string,
): Buffer {
  return encodeContext(['service', deploymentId, workspaceId, purpose, id]);
}

/** AAD of a payload's HPKE: what a client knows before anything is stored. The record around it binds the key's id and version. */
export function sealContext(place: {
  readonly workspaceId: string;
  readonly sealId: string;
  readonly provider: string;
}): Buffer {
  return encodeContext(['seal', place.workspaceId, place.sealId, place.provider]);
}

/** AAD of a `sealedValue`. */
export function intakeContext(place: { readonly workspaceId: string; readonly provider: string }): Buffer {
  return encodeContext(['intake', place.workspaceId, place.provider]);
}

function decimal(version: number): string {
  if (!Number.isSafeInteger(version) || version < 1)
    throw new RangeError('a version is a whole number from 1');
  return String(version);
}

/**
 * The fields of a context again, for a key service that shows them to its own policies and log.
 *
 * @throws {RangeError} not what encodeContext makes.
 */
export function decodeContext(context: Uint8Array): readonly string[] {
  const bytes = Buffer.from(context.buffer, context.byteOffset, context.byteLength);
  const fields: string[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = at + 4 <= bytes.length ? bytes.readUInt32BE(at) : Number.POSITIVE_INFINITY;
    if (at + 4 + length > bytes.length) throw new RangeError('a context ends within a field');
    const field = bytes.subarray(at + 4, at + 4 + length);
    const text = field.toString('utf8');
    if (!Buffer.from(text, 'utf8').equals(field)) throw new RangeError('a context’s field is not UTF-8');
    fields.push(text);
    at += 4 + length;
  }
  return fields;
}
