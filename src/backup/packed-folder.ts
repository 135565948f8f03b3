import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, createWriteStream, lchownSync } from 'node:fs';
import { mkdir, open, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createZstdCompress, createZstdDecompress } from 'node:zlib';
import { compression, type PackedFile } from './packed-file.ts';
import { blockBytes, padding, readTarHeader, tarHeader } from './tar.ts';

/** Many small files as one: `tar --zstd -xf` unpacks it. A file apiece would take as long for its fsyncs as for all the rest. */
export interface FolderPack {
  addFolder(name: string): Promise<void>;
  /** Null: it is gone, and not in the pack. */
  addFile(from: string, name: string): Promise<PackedFile | null>;
  addText(text: string, name: string): Promise<PackedFile>;
  /** Durable when this resolves. */
  close(): Promise<void>;
  /** Lets go of the file, whatever is in it. */
  abandon(): void;
}

const chunkBytes = 1024 * 1024;

export function createFolderPack(file: string): FolderPack {
  const zstd = createZstdCompress(compression);
  const done = pipeline(zstd, createWriteStream(file, { flags: 'wx', mode: 0o600, flush: true }));
  // Whoever writes hears of it: a disk that is full ends `done`, not the process.
  done.catch(() => {});

  async function write(bytes: Buffer): Promise<void> {
    if (zstd.write(bytes)) return;
    await Promise.race([once(zstd, 'drain'), done]);
  }

  async function end(bytes: number): Promise<void> {
    if (padding(bytes) > 0) await write(Buffer.alloc(padding(bytes)));
  }

  /** As many bytes as the header has said, whatever becomes of the file meanwhile: its WAL knows. */
  async function copy(handle: FileHandle, name: string, bytes: number): Promise<PackedFile> {
    const hash = createHash('sha256');
    for (let at = 0; at < bytes;) {
      const buffer = Buffer.alloc(Math.min(chunkBytes, bytes - at));
      let filled = 0;
      while (filled < buffer.length) {
        const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, at + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      hash.update(buffer);
      await write(buffer);
      at += buffer.length;
    }
    await end(bytes);
    return { path: name, bytes, sha256: hash.digest('hex') };
  }

  return Object.freeze<FolderPack>({
    addFolder: (name) => write(tarHeader({ name, bytes: null })),
    async addFile(from, name) {
      const handle = await open(from, 'r').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return null;
        throw error;
      });
      if (handle === null) return null;
      try {
        const { size } = await handle.stat();
        await write(tarHeader({ name, bytes: size }));
        return await copy(handle, name, size);
      } finally {
        await handle.close();
      }
    },
    async addText(text, name) {
      const bytes = Buffer.from(text);
      await write(tarHeader({ name, bytes: bytes.length }));
      await write(bytes);
      await end(bytes.length);
      return { path: name, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
    },
    async close() {
      zstd.end(Buffer.alloc(2 * blockBytes));
      await done;
    },
    abandon: () => void zstd.destroy(),
  });
}

export interface Unpacking {
  /** Relative path, checked to stay inside before anything is made. */
  readonly isWanted: (name: string, bytes: number | null) => boolean;
  readonly own: (file: string) => void;
}

/**
 * Unpacks into a folder, without syncing: whoever starts on it does that.
 *
 * @returns what came out, to be compared. Rejects where the pack is damaged or holds a name that is not wanted.
 */
export async function unpackFolder(
  file: string,
  into: string,
  { isWanted, own }: Unpacking,
): Promise<PackedFile[]> {
  const out: PackedFile[] = [];
  const source = createReadStream(file);
  const plain = createZstdDecompress();
  const fed = pipeline(source, plain);
  fed.catch(() => {});
  const reader = blockReader(plain as AsyncIterable<Buffer>);
  try {
    await entries();
    await reader.drain();
    await fed;
    return out;
  } finally {
    source.destroy();
    plain.destroy();
  }

  async function entries(): Promise<void> {
    for (;;) {
      const head = await reader.take(blockBytes);
      if (head.length < blockBytes) throw new Error('the pack ends too early');
      const entry = readTarHeader(head);
      if (entry === null) return;
      if (!isWanted(entry.name, entry.bytes))
        throw new Error('it holds a file that the manifest does not name');
      const to = path.join(into, entry.name);
      if (entry.bytes === null) {
        await mkdir(to, { recursive: true, mode: 0o700 });
        own(to);
        continue;
      }
      const hash = createHash('sha256');
      const handle = await open(to, 'wx', 0o600);
      try {
        for (let left = entry.bytes; left > 0;) {
          const bytes = await reader.take(Math.min(left, chunkBytes));
          if (bytes.length === 0) throw new Error('the pack ends too early');
          hash.update(bytes);
          await handle.writeFile(bytes);
          left -= bytes.length;
        }
      } finally {
        await handle.close();
      }
      own(to);
      await reader.take(padding(entry.bytes));
      out.push({ path: entry.name, bytes: entry.bytes, sha256: hash.digest('hex') });
    }
  }
}

export const chownTo =
  (ids: { readonly uid: number; readonly gid: number } | null) =>
  (file: string): void => {
    // What was made here is no link; one that somebody puts in its place is not followed.
    if (ids !== null) lchownSync(file, ids.uid, ids.gid);
  };

/** Exactly so many bytes at a time; fewer only at the end. */
function blockReader(source: AsyncIterable<Buffer>) {
  const chunks = source[Symbol.asyncIterator]();
  let held: Buffer = Buffer.alloc(0);
  const next = async (): Promise<Buffer | null> => {
    const { done, value } = await chunks.next();
    return done === true ? null : value;
  };
  return {
    async take(bytes: number): Promise<Buffer> {
      const parts: Buffer[] = [held];
      for (let length = held.length; length < bytes;) {
        const chunk = await next();
        if (chunk === null) break;
        parts.push(chunk);
        length += chunk.length;
      }
      const all = parts.length === 1 ? held : Buffer.concat(parts);
      held = all.subarray(bytes);
      return all.subarray(0, bytes);
    },
    /** What stands behind the end is checked by the decompressor. */
    async drain(): Promise<void> {
      while ((await next()) !== null);
    },
  };
}
