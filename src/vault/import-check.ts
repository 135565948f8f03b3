import { createSecretKey, type KeyObject } from 'node:crypto';
import type { FoundingTable } from '../db/snapshot.ts';
import { SallyportError } from '../errors.ts';
import { wipe } from '../secret.ts';
import { dataKeyContext, payloadContext } from './context.ts';
import { wrapOf } from './export.ts';
import { typedRow } from './export-columns.ts';
import { bytesOf, textOf, wholeOf } from './export-format.ts';
import { KekError } from './kek-provider.ts';
import type { KekRing } from './keyring.ts';
import { isSameMac, macOf, type MacField } from './mac.ts';
import { kinds, openRecord, VaultError } from './record.ts';
import {
  aliasMacFields,
  keyMacFields,
  priceMacFields,
  sealMacFields,
  tokenMacFields,
  webhookMacFields,
} from './row-macs.ts';
import { signingPublicKeyOf } from './signing-key.ts';
import { subkey } from './subkey.ts';

type Fields = Readonly<Record<string, unknown>>;

/** What the checks of later rows need of earlier ones. */
export interface RowChecker {
  /** @throws {SallyportError} CONFLICT naming the row; CONFIG_INVALID: its root key is not at hand. */
  check(table: FoundingTable, fields: Fields): Promise<void>;
}

interface KeyRow {
  readonly provider: string;
  readonly protection: string;
  readonly version: number;
}

/**
 * Opens every wrap and every record, and computes every MAC, as far as the ring goes: of a sealed key the outer record. What comes out
 * of a payload is wiped at once and looked at by nobody.
 */
export function createRowChecker(ring: KekRing, deploymentId: string): RowChecker {
  const workspaceKeys = new Map<string, KeyObject>();
  const macKeys = new Map<string, KeyObject>();
  const keys = new Map<string, KeyRow>();

  /** @returns the caller's to wipe. */
  async function unwrap(table: 'workspace_keys' | 'signing_keys', row: Fields): Promise<Buffer> {
    const rootKeyId = textOf(row['root_key_id']);
    const { context, kind } = wrapOf(deploymentId, table, row);
    return ring
      .unwrap(rootKeyId, kind, context(rootKeyId), bytesOf(row['record']))
      .catch((error: unknown) => {
        if (!(error instanceof KekError)) throw error;
        const code = error.code === 'wrong_key' ? 'CONFIG_INVALID' : 'VAULT_SEALED';
        throw new SallyportError(code, `${error.message} The file needs it.`, {
          fix: 'Import with the keyring that the export was made under, and with its key service in reach.',
          cause: error,
        });
      });
  }

  async function openWorkspaceKey(row: Fields): Promise<void> {
    const workspaceId = textOf(row['workspace_id']);
    const version = wholeOf(row['version']);
    const bytes = await unwrap('workspace_keys', row);
    try {
      if (bytes.length !== 32) throw broken('workspace_keys', workspaceId);
      workspaceKeys.set(`${workspaceId}\n${version}`, createSecretKey(bytes));
      if (version === 1) macKeys.set(workspaceId, subkey(bytes, 'row-mac'));
    } finally {
      wipe(bytes);
    }
  }

  /** Of one that has been taken over from nothing is left to open. */
  async function openSigningKey(row: Fields): Promise<void> {
    if (row['record'] === null) return;
    const seed = await unwrap('signing_keys', row);
    try {
      const isGood = seed.length === 32 && signingPublicKeyOf(seed).equals(bytesOf(row['public_key']));
      if (!isGood) throw broken('signing_keys', textOf(row['id']));
    } finally {
      wipe(seed);
    }
  }

  function checkMac(table: FoundingTable, row: Fields, fields: readonly MacField[]): void {
    const workspaceId = textOf(row['workspace_id']);
    const key = macKeys.get(workspaceId);
    const isGood =
      key !== undefined && isSameMac(macOf(key, [workspaceId, table, ...fields]), bytesOf(row['mac']));
    if (!isGood) throw broken(table, textOf(row['id']));
  }

  function openVersion(row: Fields): void {
    const keyId = textOf(row['key_id']);
    const workspaceId = textOf(row['workspace_id']);
    const version = wholeOf(row['version']);
    const workspaceKey = workspaceKeys.get(`${workspaceId}\n${wholeOf(row['workspace_key_version'])}`);
    const key = keys.get(keyId);
    if (workspaceKey === undefined || key === undefined) throw broken('provider_key_versions', keyId);
    const place = { deploymentId, workspaceId, keyId, version };
    const dataKey = openRecord(workspaceKey, kinds.dataKey, dataKeyContext(place), bytesOf(row['wrap']));
    try {
      // A version that is on its way out may be from before the key was sealed, or from when it still was.
      const protections = key.version === version ? [key.protection] : ['standard', 'sealed'];
      const isGood = protections.some((protection) =>
        opens(
          dataKey,
          payloadContext({ ...place, provider: key.provider, protection }),
          bytesOf(row['payload']),
        ),
      );
      if (!isGood) throw broken('provider_key_versions', keyId);
    } finally {
      wipe(dataKey);
    }
  }

  async function check(table: FoundingTable, row: Fields): Promise<void> {
    if (table === 'workspace_keys') return openWorkspaceKey(row);
    if (table === 'signing_keys') return openSigningKey(row);
    if (table === 'provider_key_versions') return openVersion(row);
    if (table === 'tokens') checkMac(table, row, tokenMacFields(typedRow(table, row)));
    if (table === 'seals') checkMac(table, row, sealMacFields(typedRow(table, row)));
    if (table === 'model_aliases') checkMac(table, row, aliasMacFields(typedRow(table, row)));
    if (table === 'price_overrides') checkMac(table, row, priceMacFields(typedRow(table, row)));
    if (table === 'webhooks') checkMac(table, row, webhookMacFields(typedRow(table, row)));
    if (table === 'provider_keys') {
      checkMac(table, row, keyMacFields(typedRow(table, row)));
      keys.set(textOf(row['id']), {
        provider: textOf(row['provider']),
        protection: textOf(row['protection']),
        version: wholeOf(row['version']),
      });
    }
  }

  return Object.freeze<RowChecker>({
    async check(table, row) {
      try {
        await check(table, row);
      } catch (error) {
        // A column that is missing or of another type shows as one of these.
        const isRow =
          error instanceof VaultError || error instanceof TypeError || error instanceof RangeError;
        if (!isRow) throw error;
        throw broken(table, textOf(row['key_id'] ?? row['id'] ?? row['workspace_id']));
      }
    },
  });
}

function opens(dataKey: Buffer, context: Uint8Array, record: Buffer): boolean {
  try {
    wipe(openRecord(dataKey, kinds.payload, context, record));
    return true;
  } catch (error) {
    if (error instanceof VaultError) return false;
    throw error;
  }
}

function broken(table: string, id: string): SallyportError {
  return new SallyportError('CONFLICT', `A row of ${table} does not verify: ${id.slice(0, 80)}.`, {
    fix: 'It was changed in the file, or in the database before it was exported; nothing was imported.',
  });
}
