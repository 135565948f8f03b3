import { createDecipheriv, createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import pg from 'pg';
import { composeContext, deriveKeys } from '../vault/independent-record.ts';

/**
 * What somebody gets who stole a database and, perhaps, the keyring, and a token with its seal: opens whatever they open. Knows the
 * formats from the documents (docs/architecture.md) and shares no code with the gateway.
 *
 *   node test/leak/thief.ts --database postgresql://… [--keyring keyring.json] [--credential spt_….sps_…]
 *
 * Prints `{"opened":{"<key id>":"<the key itself>"},"closed":["<key id>"]}`.
 */
interface Loot {
  readonly deploymentId: string;
  readonly workspaceKeys: readonly {
    workspace_id: string;
    version: number;
    root_key_id: string;
    record: Buffer;
  }[];
  readonly keys: readonly {
    id: string;
    workspace_id: string;
    version: number;
    provider: string;
    protection: string;
    seal_id: string | null;
    workspace_key_version: number;
    wrap: Buffer;
    payload: Buffer;
  }[];
}

const { values } = parseArgs({
  options: { database: { type: 'string' }, keyring: { type: 'string' }, credential: { type: 'string' } },
});
const loot = await steal(JSON.parse(values.database ?? '{}') as pg.ClientConfig);
const [token = '', seal = ''] = (values.credential ?? '').split(/\.(?=sps_)/);
const guesses = [...rootKeys(values.keyring), ...keysFrom(token), ...keysFrom(seal)];
const opened: Record<string, string> = {};
const closed: string[] = [];
for (const key of loot.keys) {
  const value = await openKey(key);
  if (value === null) closed.push(key.id);
  else opened[key.id] = value;
}
process.stdout.write(`${JSON.stringify({ opened, closed })}\n`);

async function steal(config: pg.ClientConfig): Promise<Loot> {
  const client = new pg.Client(config);
  await client.connect();
  try {
    // Whoever has the files is bound by no row security.
    await client.query('set role sallyport_system');
    const rows = async (text: string) => (await client.query(text)).rows;
    const [deployment] = await rows('select id from deployment');
    return {
      deploymentId: deployment.id,
      workspaceKeys: await rows('select workspace_id, version, root_key_id, record from workspace_keys'),
      keys: await rows(
        `select k.id, k.workspace_id, k.version, k.provider, k.protection, k.seal_id, v.workspace_key_version, v.wrap, v.payload
           from provider_keys k join provider_key_versions v on v.key_id = k.id and v.version = k.version order by k.id`,
      ),
    };
  } finally {
    await client.end();
  }
}

function rootKeys(file: string | undefined): Buffer[] {
  if (file === undefined) return [];
  const { keys } = JSON.parse(readFileSync(file, 'utf8')) as { keys: { key: string }[] };
  return keys.map(({ key }) => Buffer.from(key.replace('base64:', ''), 'base64'));
}

/** Whatever a bad design would have made a key of. */
function keysFrom(text: string): Buffer[] {
  if (text === '') return [];
  const secret = text.slice('spt_'.length);
  return [
    createHash('sha256').update(text).digest(),
    createHash('sha256').update(secret).digest(),
    Buffer.from(secret.padEnd(32, '\0')).subarray(0, 32),
    Buffer.concat([Buffer.from(secret.slice(0, 43), 'base64url'), Buffer.alloc(32)]).subarray(0, 32),
  ];
}

async function openKey(key: Loot['keys'][number]): Promise<string | null> {
  const { deploymentId } = loot;
  const place = [deploymentId, key.workspace_id, key.id, String(key.version)];
  const workspaceKeys = loot.workspaceKeys
    .filter((row) => row.workspace_id === key.workspace_id && row.version === key.workspace_key_version)
    .flatMap((row) =>
      guesses.map((root) =>
        open(
          root,
          1,
          ['ws', deploymentId, row.workspace_id, String(row.version), row.root_key_id],
          row.record,
        ),
      ),
    );
  const dataKeys = [...workspaceKeys, ...guesses].map(
    (parent) => parent && open(parent, 2, ['dk', ...place], key.wrap),
  );
  const payloads = [...dataKeys, ...guesses].map(
    (parent) => parent && open(parent, 3, ['payload', ...place, key.provider, key.protection], key.payload),
  );
  const payload = payloads.find((bytes) => bytes !== null) ?? null;
  const bare =
    key.protection === 'sealed' ? await unseal(payload ?? key.payload.subarray(84, -16), key) : payload;
  return bare === null ? null : (JSON.parse(bare.toString('utf8')).secret as string);
}

/** `magic 4 | suite 1 | kind 1 | zero 2 | salt 32 | commitment 32 | nonce 12 | ciphertext | tag 16` */
function open(key: Uint8Array | null, kind: number, context: readonly string[], blob: Buffer): Buffer | null {
  if (key === null || blob[5] !== kind) return null;
  const { aesKey, commitment } = deriveKeys(key, blob.subarray(8, 40), blob.subarray(0, 8));
  if (!timingSafeEqual(commitment, blob.subarray(40, 72))) return null;
  const decipher = createDecipheriv('aes-256-gcm', aesKey, blob.subarray(72, 84), { authTagLength: 16 })
    .setAAD(Buffer.concat([blob.subarray(0, 84), composeContext(context)]))
    .setAuthTag(blob.subarray(-16));
  return Buffer.concat([decipher.update(blob.subarray(84, -16)), decipher.final()]);
}

/** RFC 9180 by another implementation than the gateway's. */
async function unseal(sealed: Buffer, key: Loot['keys'][number]): Promise<Buffer | null> {
  if (seal === '' || key.seal_id === null) return null;
  const suite = new CipherSuite({
    kem: new DhkemX25519HkdfSha256(),
    kdf: new HkdfSha256(),
    aead: new Aes256Gcm(),
  });
  const ikm = Uint8Array.from(Buffer.from(seal.slice('sps_'.length, 'sps_'.length + 43), 'base64url'));
  const { privateKey } = await suite.kem.deriveKeyPair(ikm.buffer);
  try {
    const recipient = await suite.createRecipientContext({
      recipientKey: privateKey,
      enc: Uint8Array.from(sealed.subarray(0, 32)).buffer,
      info: new TextEncoder().encode('sallyport/v1/seal').buffer,
    });
    const aad = composeContext(['seal', key.workspace_id, key.seal_id, key.provider]);
    return Buffer.from(await recipient.open(Uint8Array.from(sealed.subarray(32)).buffer, aad.buffer));
  } catch {
    return null;
  }
}
