import { createHash, type Hash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib';

/** A file of a backup. Bytes and SHA-256 are of what it was before it was packed. */
export interface PackedFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

export const packedEnding = '.zst';

/** Level 3 is zstd's own default; the checksum finds damage in what stands in no manifest (WAL that came later). */
export const compression = {
  params: { [constants.ZSTD_c_compressionLevel]: 3, [constants.ZSTD_c_checksumFlag]: 1 },
};

function counting(hash: Hash, count: (bytes: number) => void, limit = Infinity): Transform {
  let left = limit;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      count(chunk.length);
      left -= chunk.length;
      if (left < 0) done(new Error('it is longer than it may be'));
      else done(null, chunk);
    },
  });
}

/**
 * Packs one file, durable when this resolves; null where it is gone. `limit`: only so many bytes from its start, 1 at least.
 */
export async function packFile(
  from: string,
  into: string,
  name: string,
  limit = Infinity,
): Promise<PackedFile | null> {
  const source = createReadStream(from, Number.isFinite(limit) ? { end: limit - 1 } : {});
  const to = path.join(into, `${name}${packedEnding}`);
  await mkdir(path.dirname(to), { recursive: true, mode: 0o700 });
  const hash = createHash('sha256');
  let bytes = 0;
  const sink = createWriteStream(to, { flags: 'wx', mode: 0o600, flush: true });
  try {
    const counter = counting(hash, (more) => (bytes += more));
    await pipeline(source, counter, createZstdCompress(compression), sink);
  } catch (error) {
    await rm(to, { force: true });
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' && (error as NodeJS.ErrnoException).path === from)
      return null;
    throw error;
  }
  return { path: name, bytes, sha256: hash.digest('hex') };
}

/** Unpacks `from`/`name`.zst to `to`, durable, `limit` bytes at most. @returns what came out, to be compared. Rejects where it is damaged. */
export async function unpackFile(from: string, name: string, to: string, limit: number): Promise<PackedFile> {
  const hash = createHash('sha256');
  let bytes = 0;
  await pipeline(
    createReadStream(path.join(from, `${name}${packedEnding}`)),
    createZstdDecompress(),
    counting(hash, (more) => (bytes += more), limit),
    createWriteStream(to, { flags: 'w', mode: 0o600, flush: true }),
  );
  return { path: name, bytes, sha256: hash.digest('hex') };
}

/** What `packFile` would say of a file that lies there as it is. */
export async function measureFile(file: string, name: string): Promise<PackedFile> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { path: name, bytes, sha256: hash.digest('hex') };
}

/** A new name is durable only once its folder is. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes a small file whole or not at all, mode 0600. */
export async function writeWhole(file: string, content: string | Uint8Array): Promise<void> {
  const draft = `${file}.new`;
  const handle = await open(draft, 'w', 0o600);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(draft, file);
  await syncFolder(path.dirname(file));
}
