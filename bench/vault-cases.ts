import {
  createCipheriv,
  createSecretKey,
  diffieHellman,
  generateKeyPairSync,
  randomBytes,
} from 'node:crypto';
import { createHpke, deriveKeyPair } from '../src/vault/hpke.ts';
import { createOpener, type SealedKey } from '../src/vault/open.ts';
import { sealSecret } from '../src/vault/seal-secret.ts';

export type VaultCaseName =
  | 'bare AES-256-GCM'
  | 'bare X25519'
  | 'standard, warm'
  | 'standard, cold'
  | 'sealed, warm'
  | 'sealed, cold'
  | 'seal, standard'
  | 'seal, sealed'
  | 'HPKE seal';

export interface VaultCase {
  readonly name: VaultCaseName;
  /** Microseconds; null: what others are compared with, or has no bar. */
  readonly barUs: number | null;
  readonly work: () => Promise<void> | void;
}

export interface VaultResult extends Pick<VaultCase, 'name' | 'barUs'> {
  readonly medianUs: number;
  readonly p95Us: number;
}

const origin = 'https://api.example';

/**
 * What the vault does for a call, with no database and no socket: preparing a key and writing its secret to the place that it goes out
 * from. Warm: the record key is cached (as for 240 s after a use); cold: wrap and record key are opened and derived too, the
 * workspace's key being cached. A seal's key pair is derived for each call: it is never cached.
 */
export function vaultCases(): readonly VaultCase[] {
  const key = createSecretKey(randomBytes(32));
  const handle = { workspaceId: 'ws_1', version: 1, key, verifier: key, rowMac: key, fingerprint: key };
  const deps = { deploymentId: 'dep_1', knownOrigins: () => null, clock: Date.now };
  const opener = createOpener({ ...deps, workspaceKey: async () => handle, alarm: () => {} });
  const ikm = randomBytes(32);
  const pair = deriveKeyPair(ikm);
  const at = { workspaceId: 'ws_1', keyId: 'key_1', version: 1, provider: 'mine', auth: 'bearer' } as const;
  const input = {
    ...at,
    secret: Buffer.from(`sk-bench-${randomBytes(40).toString('hex')}`),
    origins: [origin],
  };
  const seal = { id: 'seal_1', publicKey: pair.publicKey };
  const standard: SealedKey = {
    ...at,
    ...sealSecret(deps, handle, key, input),
    protection: 'standard',
    sealId: null,
    sealPublicKey: null,
  };
  const sealed: SealedKey = {
    ...at,
    ...sealSecret(deps, handle, key, { ...input, keyId: 'key_1', seal }),
    protection: 'sealed',
    sealId: seal.id,
    sealPublicKey: pair.publicKey,
  };

  const into = Buffer.alloc(1024);
  const open = async (row: SealedKey, isCold: boolean): Promise<void> => {
    if (isCold) opener.forget(row.workspaceId);
    const prepared = await opener.prepare(row, row.protection === 'sealed' ? ikm : null);
    prepared.openInto(into, 0, { origin, header: 'authorization' });
    prepared.wipe();
  };
  const [nonce, aad, payload] = [randomBytes(12), randomBytes(160), randomBytes(256)];
  const other = generateKeyPairSync('x25519');
  const hpke = createHpke('bench');
  const one = (name: VaultCaseName, barUs: number | null, work: VaultCase['work']): VaultCase => ({
    name,
    barUs,
    work,
  });
  return [
    one('bare AES-256-GCM', null, () => {
      const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 }).setAAD(aad);
      Buffer.concat([cipher.update(payload), cipher.final(), cipher.getAuthTag()]);
    }),
    one('bare X25519', null, () => {
      diffieHellman({ privateKey: pair.privateKey, publicKey: other.publicKey });
    }),
    one('standard, warm', 15, () => open(standard, false)),
    one('standard, cold', 80, () => open(standard, true)),
    one('sealed, warm', 200, () => open(sealed, false)),
    one('sealed, cold', null, () => open(sealed, true)),
    one('seal, standard', null, () => void sealSecret(deps, handle, key, input)),
    one('seal, sealed', null, () => void sealSecret(deps, handle, key, { ...input, seal })),
    one('HPKE seal', null, () => void hpke.seal(pair.publicKey, aad, payload)),
  ];
}

/** Cases take turns in short rounds, so that a busy moment of the machine falls on all of them. */
export async function measureVault(rounds: number, perRound: number): Promise<readonly VaultResult[]> {
  const measured = vaultCases().map((one) => ({ ...one, times: [] as number[] }));
  for (let round = -1; round < rounds; round += 1) {
    for (const { work, times } of measured) {
      for (let i = 0; i < perRound; i += 1) {
        const start = performance.now();
        await work();
        // The first round is for the compiler.
        if (round >= 0) times.push((performance.now() - start) * 1000);
      }
    }
  }
  return measured.map(({ name, barUs, times }) => {
    const sorted = times.toSorted((a, b) => a - b);
    const at = (part: number): number => sorted[Math.floor(sorted.length * part)] ?? Number.NaN;
    return { name, barUs, medianUs: at(0.5), p95Us: at(0.95) };
  });
}
