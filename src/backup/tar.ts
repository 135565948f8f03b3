/** ustar (POSIX.1-1988): what `tar` everywhere unpacks. Only files and folders; names up to 100 bytes, sizes below 8 GiB. */
export const blockBytes = 512;

export interface TarEntry {
  /** Relative, with `/`. */
  readonly name: string;
  /** Null: a folder. */
  readonly bytes: number | null;
}

const maxName = 100;
const maxBytes = 8 * 1024 ** 3 - 1;
const fields = {
  name: 0,
  mode: 100,
  uid: 108,
  gid: 116,
  size: 124,
  mtime: 136,
  sum: 148,
  type: 156,
  magic: 257,
};

export function tarHeader({ bytes, name }: TarEntry): Buffer {
  const block = Buffer.alloc(blockBytes);
  if (Buffer.byteLength(name) >= maxName || (bytes ?? 0) > maxBytes)
    throw new RangeError(`${name} does not fit into a tar`);
  block.write(bytes === null ? `${name}/` : name, fields.name);
  block.write(bytes === null ? '0000700\0' : '0000600\0', fields.mode);
  block.write('0000000\0', fields.uid);
  block.write('0000000\0', fields.gid);
  block.write(`${(bytes ?? 0).toString(8).padStart(11, '0')}\0`, fields.size);
  block.write('00000000000\0', fields.mtime);
  block.write('        ', fields.sum);
  block.write(bytes === null ? '5' : '0', fields.type);
  block.write('ustar\u000000', fields.magic, 'latin1');
  block.write(`${sumOf(block).toString(8).padStart(6, '0')}\0 `, fields.sum);
  return block;
}

/** Null at the end. @throws {Error} no header of such a tar. */
export function readTarHeader(block: Buffer): TarEntry | null {
  if (block.every((byte) => byte === 0)) return null;
  const told = Number.parseInt(block.toString('latin1', fields.sum, fields.sum + 6), 8);
  const blank = Buffer.from(block);
  blank.write('        ', fields.sum);
  if (told !== sumOf(blank)) throw new Error('a header of the tar is damaged');
  const name = block.toString('utf8', 0, maxName).replace(/\0.*$/s, '');
  const type = String.fromCharCode(block[fields.type] ?? 0);
  if (type === '5') return { name: name.replace(/\/$/, ''), bytes: null };
  const bytes = Number.parseInt(block.toString('latin1', fields.size, fields.size + 11), 8);
  if (type !== '0' || !Number.isSafeInteger(bytes)) throw new Error('an entry of the tar is no file');
  return { name, bytes };
}

/** Bytes after a file, up to the next block. */
export const padding = (bytes: number): number => (blockBytes - (bytes % blockBytes)) % blockBytes;

function sumOf(block: Buffer): number {
  let sum = 0;
  for (const byte of block) sum += byte;
  return sum;
}
