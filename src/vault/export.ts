import { createHash, createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { foundingTables, type FoundingTable, type Snapshot } from '../db/snapshot.ts';
import { SallyportError } from '../errors.ts';
import { wipe } from '../secret.ts';
import { ageText, sealToRecipients } from './age.ts';
import { canaryContext, serviceContext, workspaceKeyContext } from './context.ts';
import { openCanary } from './deployment.ts';
import {
  bytesOf,
  type ExportHeader,
  type ExportManifest,
  hexText,
  jsonLine,
  rowLine,
  textOf,
  wholeOf,
} from './export-format.ts';
import { newKeyringText, parseKeyring, type KekRing } from './keyring.ts';
import { kinds } from './record.ts';
import { subkey } from './subkey.ts';

export interface ExportDeps {
  readonly snapshot: Snapshot;
  readonly ring: KekRing;
  /** age recipients; none: sealed under the ring's own root keys, and useless without it. */
  readonly recipients: readonly string[];
  readonly clock: () => number;
  readonly version: string;
}

export interface VaultExport {
  readonly header: ExportHeader;
  /** Line by line; the end of the manifest is known when it has ended. */
  lines(): AsyncGenerator<Buffer>;
  manifest(): ExportManifest;
}

/**
 * Every record of the vault as it stands in the database: ciphertext, which nothing here opens but workspace keys where these are to
 * go to other hands.
 *
 * @throws {SallyportError} CONFIG_INVALID: the ring is not that of this database. REQUEST_INVALID: a recipient that is none.
 */
export async function createExport(deps: ExportDeps): Promise<VaultExport> {
  const { clock, recipients, ring, snapshot, version } = deps;
  const deployment = await deploymentRow(snapshot);
  const deploymentId = textOf(deployment['id']);
  const canary = await openCanary(ring, { id: deploymentId, canary: bytesOf(deployment['canary']) });
  const key = createSecretKey(canary);
  const transport = recipients.length === 0 ? null : newTransport();
  let sealedCanary: Buffer | null = null;
  try {
    if (transport !== null) {
      const { id } = transport.ring.active();
      sealedCanary = await transport.ring.wrap(id, kinds.canary, canaryContext(deploymentId), canary);
    }
  } finally {
    wipe(canary);
  }
  const header: ExportHeader = {
    format: 'sallyport-vault-export',
    v: 1,
    deploymentId,
    exportedAt: new Date(clock()).toISOString(),
    program: version,
    schema: await snapshot.schemaVersion(),
    rootKeyIds: transport === null ? await snapshot.rootKeyIds() : [transport.ring.active().id],
    transport:
      transport === null
        ? null
        : {
            rootKeyId: transport.ring.active().id,
            recipients,
            age: ageText(
              await sealToRecipients(recipients, transport.text).finally(() => wipe(transport.text)),
            ),
          },
  };
  let manifest: ExportManifest | null = null;

  async function rowText(table: FoundingTable, text: string): Promise<string> {
    if (transport === null || sealedCanary === null) return text;
    if (table === 'deployment') return JSON.stringify({ ...deployment, canary: hexText(sealedCanary) });
    return isWrapped(table) ? rewrapped(ring, transport.ring, deploymentId, table, text) : text;
  }

  async function* lines(): AsyncGenerator<Buffer> {
    const hash = createHash('sha256');
    const counts: Record<string, number> = {};
    const tell = (line: Buffer): Buffer => {
      hash.update(line);
      return line;
    };
    yield tell(jsonLine(header));
    for (const table of foundingTables) {
      counts[table] = 0;
      for await (const page of snapshot.rows(table)) {
        counts[table] += page.length;
        const texts = await Promise.all(page.map((text) => rowText(table, text)));
        yield tell(Buffer.concat(texts.map((text) => rowLine({ table, text }))));
      }
    }
    manifest = { counts, journal: await snapshot.journalHeads() };
    yield tell(jsonLine({ manifest }));
    const digest = hash.digest();
    yield jsonLine({ sha256: digest.toString('hex'), mac: exportMac(key, digest).toString('hex') });
    transport?.ring.close();
  }

  return Object.freeze<VaultExport>({
    header,
    lines,
    manifest: () => manifest ?? { counts: {}, journal: [] },
  });
}

/** HMAC-SHA256 of an export's SHA-256. */
export function exportMac(deploymentKey: KeyObject, digest: Uint8Array): Buffer {
  return createHmac('sha256', subkey(deploymentKey, 'export')).update(digest).digest();
}

async function deploymentRow(snapshot: Snapshot): Promise<Record<string, unknown>> {
  for await (const [row] of snapshot.rows('deployment'))
    if (row !== undefined) return JSON.parse(row) as Record<string, unknown>;
  throw new SallyportError(
    'CONFIG_INVALID',
    'This installation has not been set up yet: there is nothing to export.',
  );
}

function newTransport(): { readonly ring: KekRing; readonly text: Buffer } {
  const text = newKeyringText();
  return { ring: parseKeyring(text, 'the export'), text: Buffer.from(text) };
}

type WrappedTable = 'workspace_keys' | 'signing_keys';

/** Has it a record under a root key in each row that is in use? */
export function isWrapped(table: FoundingTable): table is WrappedTable {
  return table === 'workspace_keys' || table === 'signing_keys';
}

/** Kind and place of such a row's record. */
export function wrapOf(deploymentId: string, table: WrappedTable, row: Record<string, unknown>) {
  if (table === 'signing_keys') {
    const context = (): Buffer => serviceContext(deploymentId, '', 'signing', textOf(row['id']));
    return { kind: kinds.service, context };
  }
  const place = { deploymentId, workspaceId: textOf(row['workspace_id']), version: wholeOf(row['version']) };
  return {
    kind: kinds.workspaceKey,
    context: (rootKeyId: string): Buffer => workspaceKeyContext({ ...place, rootKeyId }),
  };
}

/** The row, sealed under the other ring's active root key. */
export async function rewrapped(
  from: KekRing,
  to: KekRing,
  deploymentId: string,
  table: WrappedTable,
  text: string,
): Promise<string> {
  const row = JSON.parse(text) as Record<string, unknown>;
  // A signing key of the past: its private half is gone.
  if (row['record'] === null) return text;
  const { context, kind } = wrapOf(deploymentId, table, row);
  const old = textOf(row['root_key_id']);
  const { id } = to.active();
  const bytes = await from.unwrap(old, kind, context(old), bytesOf(row['record']));
  try {
    const record = await to.wrap(id, kind, context(id), bytes);
    return JSON.stringify({ ...row, root_key_id: id, record: hexText(record) });
  } finally {
    wipe(bytes);
  }
}
