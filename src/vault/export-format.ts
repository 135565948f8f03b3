import { type FoundingTable, isFoundingTable } from '../db/snapshot.ts';
import { SallyportError } from '../errors.ts';

/**
 * A vault export: JSON lines, UTF-8, in this order.
 *
 * 1. the header;
 * 2. rows, `{"t":"<table>","r":{…}}`, table by table in the order of references;
 * 3. the manifest, `{"manifest":{…}}`;
 * 4. the end, `{"sha256","mac"}`, over every byte before it: SHA-256, and HMAC-SHA256 of that under a key of the deployment, so that
 *    whoever holds the ring knows a file that was changed from one that was not.
 */
export interface ExportHeader {
  readonly format: 'sallyport-vault-export';
  readonly v: 1;
  readonly deploymentId: string;
  readonly exportedAt: string;
  readonly program: string;
  readonly schema: string;
  /** The root keys that workspace keys and canary are sealed under. */
  readonly rootKeyIds: readonly string[];
  /** Portable: those are sealed under this one, a keyring of its own, encrypted with age (armored). */
  readonly transport: {
    readonly rootKeyId: string;
    readonly recipients: readonly string[];
    readonly age: string;
  } | null;
}

export interface ExportManifest {
  readonly counts: Readonly<Record<string, number>>;
  /** As far as shipped: what the journal was when this left. */
  readonly journal: readonly {
    readonly stream: string;
    readonly nextSeq: string;
    readonly headHash: string;
  }[];
}

export interface ExportEnd {
  readonly sha256: string;
  readonly mac: string;
}

export interface ExportRow {
  readonly table: FoundingTable;
  /** As PostgreSQL wrote it. */
  readonly text: string;
}

/** A payload's record is at most 64 KiB, and 128 KiB in hex. */
export const maxLineBytes = 1024 * 1024;

export const rowLine = ({ table, text }: ExportRow): Buffer => Buffer.from(`{"t":"${table}","r":${text}}\n`);
export const jsonLine = (value: unknown): Buffer => Buffer.from(`${JSON.stringify(value)}\n`);

export type ExportLine =
  | { readonly kind: 'header'; readonly header: ExportHeader }
  | { readonly kind: 'row'; readonly row: ExportRow; readonly fields: Readonly<Record<string, unknown>> }
  | { readonly kind: 'manifest'; readonly manifest: ExportManifest }
  | { readonly kind: 'end'; readonly end: ExportEnd };

const endShape = /^\{"sha256":"([0-9a-f]{64})","mac":"([0-9a-f]{64})"\}$/;
const rowShape = /^\{"t":"([a-z_]+)","r":(\{.*\})\}$/s;

/** @throws {SallyportError} CONFLICT: no line of an export. */
export function readLine(line: Buffer): ExportLine {
  if (line.length > maxLineBytes) throw damagedFile('a line is too long');
  const text = line.toString('utf8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw damagedFile('a line is not JSON');
  }
  if (!isObject(value)) throw damagedFile('a line is none of an export');
  if (value['format'] === 'sallyport-vault-export') {
    if (value['v'] !== 1) throw damagedFile('it is of a newer form than this version knows');
    if (!isHeader(value)) throw damagedFile('its header lacks a part');
    return { kind: 'header', header: value };
  }
  if (isObject(value['manifest'])) {
    const { counts, journal } = value['manifest'];
    if (!isObject(counts) || !Array.isArray(journal)) throw damagedFile('its manifest lacks a part');
    return { kind: 'manifest', manifest: value['manifest'] as unknown as ExportManifest };
  }
  if ('sha256' in value) {
    const [, sha256 = '', mac = ''] = endShape.exec(text) ?? [];
    if (sha256 === '') throw damagedFile('its end is none');
    return { kind: 'end', end: { sha256, mac } };
  }
  const [, table, row] = rowShape.exec(text) ?? [];
  if (!isFoundingTable(table) || row === undefined || !isObject(value['r']))
    throw damagedFile('a line is none of an export');
  return { kind: 'row', row: { table, text: row }, fields: value['r'] };
}

function isHeader(value: Record<string, unknown>): value is ExportHeader & Record<string, unknown> {
  const { deploymentId, exportedAt, rootKeyIds, transport } = value;
  const isTransport =
    transport === null ||
    (isObject(transport) &&
      typeof transport['age'] === 'string' &&
      typeof transport['rootKeyId'] === 'string');
  return (
    typeof deploymentId === 'string' &&
    typeof exportedAt === 'string' &&
    Array.isArray(rootKeyIds) &&
    isTransport
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function damagedFile(what: string): SallyportError {
  return new SallyportError('CONFLICT', `The file is damaged or no vault export: ${what}.`, {
    fix: 'Take another copy of it; nothing was changed.',
  });
}

/** bytea as PostgreSQL's JSON has it. */
export function bytesOf(value: unknown): Buffer {
  if (typeof value !== 'string' || !/^\\x([0-9a-f]{2})*$/.test(value))
    throw damagedFile('bytes are not in hex');
  return Buffer.from(value.slice(2), 'hex');
}

export function textOf(value: unknown): string {
  if (typeof value !== 'string') throw damagedFile('a text is missing');
  return value;
}

export function wholeOf(value: unknown): number {
  if (!Number.isSafeInteger(value)) throw damagedFile('a number is missing');
  return value as number;
}

export const hexText = (bytes: Uint8Array): string => `\\x${Buffer.from(bytes).toString('hex')}`;
