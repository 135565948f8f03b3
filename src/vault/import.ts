import { createHash, createSecretKey } from 'node:crypto';
import type { Refill } from '../db/refill.ts';
import { type FoundingTable, foundingTables } from '../db/snapshot.ts';
import { SallyportError } from '../errors.ts';
import { wipe } from '../secret.ts';
import { canaryContext } from './context.ts';
import { openCanary } from './deployment.ts';
import { exportMac, isWrapped, rewrapped } from './export.ts';
import {
  bytesOf,
  damagedFile,
  type ExportEnd,
  type ExportHeader,
  type ExportManifest,
  type ExportRow,
  hexText,
  readLine,
  textOf,
} from './export-format.ts';
import { createRowChecker, type RowChecker } from './import-check.ts';
import type { KekRing } from './keyring.ts';
import { isSameMac } from './mac.ts';
import { kinds } from './record.ts';

/** The file's lines without their newlines, from the beginning each time. */
export type ExportLines = () => AsyncIterable<Buffer>;

/** An export that was verified in full. */
export interface CheckedExport {
  readonly header: ExportHeader;
  readonly manifest: ExportManifest;
  readonly sha256: string;
}

/** @throws {SallyportError} CONFLICT: the file does not begin as an export does. */
export async function readHeader(lines: ExportLines): Promise<ExportHeader> {
  for await (const line of lines()) {
    const read = readLine(line);
    if (read.kind === 'header') return read.header;
    break;
  }
  throw damagedFile('it does not begin with a header');
}

/**
 * Reads the whole file and believes nothing: order, counts, digest, MAC, each wrap, record and row MAC.
 *
 * @param source what its workspace keys are sealed under: the ring, or the transport ring of a portable one.
 * @throws {SallyportError} CONFLICT (damaged, changed), CONFIG_INVALID (another ring).
 */
export async function checkExport(lines: ExportLines, source: KekRing): Promise<CheckedExport> {
  const hash = createHash('sha256');
  const counts: Record<string, number> = Object.fromEntries(foundingTables.map((table) => [table, 0]));
  let header: ExportHeader | null = null;
  let checker: RowChecker | null = null;
  let canary: Buffer | null = null;
  let manifest: ExportManifest | null = null;
  let end: ExportEnd | null = null;
  let table = 0;
  try {
    for await (const line of lines()) {
      if (end !== null) throw damagedFile('it goes on behind its end');
      const read = readLine(line);
      if (read.kind === 'end') {
        end = read.end;
        continue;
      }
      hash.update(line).update('\n');
      if (read.kind === 'header') {
        if (header !== null) throw damagedFile('it has two headers');
        header = read.header;
        checker = createRowChecker(source, header.deploymentId);
      } else if (read.kind === 'manifest') manifest = read.manifest;
      else {
        const at = foundingTables.indexOf(read.row.table);
        if (header === null || checker === null || manifest !== null || at < table)
          throw damagedFile('its parts are not in their order');
        table = at;
        counts[read.row.table] = (counts[read.row.table] ?? 0) + 1;
        if (read.row.table === 'deployment') {
          if (canary !== null || read.fields['id'] !== header.deploymentId)
            throw damagedFile('it is not of one deployment');
          canary = await openCanary(source, {
            id: header.deploymentId,
            canary: bytesOf(read.fields['canary']),
          });
        } else await checker.check(read.row.table, read.fields);
      }
    }
    if (header === null || manifest === null || end === null || canary === null)
      throw damagedFile('it ends too early');
    const digest = hash.digest();
    const mac = exportMac(createSecretKey(canary), digest);
    if (digest.toString('hex') !== end.sha256 || !isSameMac(mac, Buffer.from(end.mac, 'hex')))
      throw damagedFile('its content is not what was exported');
    for (const name of foundingTables)
      // A table that came later is in no older file.
      if ((manifest.counts[name] ?? 0) !== counts[name]) throw damagedFile(`rows of ${name} are missing`);
    return Object.freeze({ header, manifest, sha256: end.sha256 });
  } finally {
    wipe(canary);
  }
}

const pageRows = 500;

/**
 * Writes what was checked. The deployment keeps its id, so that every record stays where it is bound to; where the ring is another,
 * workspace keys and canary are sealed under its active root key.
 */
export async function writeExport(
  lines: ExportLines,
  checked: CheckedExport,
  rings: { readonly source: KekRing; readonly target: KekRing },
  into: Refill,
): Promise<void> {
  const { deploymentId } = checked.header;
  const { source, target } = rings;
  const hash = createHash('sha256');
  let page: ExportRow[] = [];

  async function sealedAnew({ table, text }: ExportRow): Promise<string> {
    if (source === target) return text;
    if (isWrapped(table)) return rewrapped(source, target, deploymentId, table, text);
    return table === 'deployment' ? rewrapCanary(source, target, deploymentId, text) : text;
  }

  async function flush(): Promise<void> {
    const table: FoundingTable | undefined = page[0]?.table;
    if (table !== undefined) await into.insert(table, await Promise.all(page.map(sealedAnew)));
    page = [];
  }

  for await (const line of lines()) {
    const read = readLine(line);
    if (read.kind === 'end') continue;
    hash.update(line).update('\n');
    if (read.kind !== 'row') continue;
    if (page.length >= pageRows || (page[0] !== undefined && page[0].table !== read.row.table)) await flush();
    page.push(read.row);
  }
  await flush();
  // Between the two readings somebody could have exchanged it.
  if (hash.digest('hex') !== checked.sha256)
    throw new SallyportError('CONFLICT', 'The file was changed while it was imported; nothing was imported.');
}

async function rewrapCanary(from: KekRing, to: KekRing, deploymentId: string, text: string): Promise<string> {
  const row = JSON.parse(text) as Record<string, unknown>;
  const bytes = await openCanary(from, { id: textOf(row['id']), canary: bytesOf(row['canary']) });
  try {
    const canary = await to.wrap(to.active().id, kinds.canary, canaryContext(deploymentId), bytes);
    return JSON.stringify({ ...row, canary: hexText(canary) });
  } finally {
    wipe(bytes);
  }
}
