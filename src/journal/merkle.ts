import { hash } from 'node:crypto';

/**
 * Merkle trees of RFC 6962, section 2.1, over SHA-256: a leaf is hashed behind 0x00, a node behind 0x01, so that neither passes for
 * the other. The tree over no leaves has the hash of nothing; ours have at least one.
 */
const hashBytes = 32;
const nodeBytes = 1 + 2 * hashBytes;

/** @param data of a leaf; here the 32-byte hash of a record. */
export function leafHash(data: Uint8Array): Buffer {
  const input = Buffer.allocUnsafe(1 + data.length);
  input[0] = 0x00;
  input.set(data, 1);
  return hash('sha256', input, 'buffer');
}

export interface MerkleTree {
  readonly root: Buffer;
  /** Is this the data of the leaf at this place? */
  has(index: number, data: Uint8Array): boolean;
  /**
   * The audit path of a leaf (RFC 6962, 2.1.1), from the leaf upwards: what has to be known beside the leaf to reckon the root.
   *
   * @throws {RangeError} no such leaf.
   */
  path(index: number): Buffer[];
}

/** @param leaves their data, in order. */
export function merkleTree(leaves: readonly Uint8Array[]): MerkleTree {
  const levels = [leaves.map(leafHash)];
  for (let level = levels[0] as Buffer[]; level.length > 1; levels.push(level)) level = above(level);
  return Object.freeze({
    root: levels.at(-1)?.[0] ?? hash('sha256', Buffer.alloc(0), 'buffer'),
    has: (index: number, data: Uint8Array) => levels[0]?.[index]?.equals(leafHash(data)) ?? false,
    path(index: number) {
      if (!Number.isInteger(index) || index < 0 || index >= leaves.length)
        throw new RangeError('no such leaf');
      // The last node of a level of odd length goes up as it is, beside nothing.
      return levels
        .slice(0, -1)
        .map((level, height) => level[Math.floor(index / 2 ** height) ^ 1])
        .filter((sibling) => sibling !== undefined);
    },
  });
}

/** The root that this leaf and path give in a tree of `size` leaves (RFC 9162, 2.1.3.2); null where the path can't be of that place. */
export function rootFromPath(
  leaf: Uint8Array,
  index: number,
  size: number,
  path: readonly Uint8Array[],
): Buffer | null {
  if (!Number.isSafeInteger(size) || !Number.isInteger(index) || index < 0 || index >= size) return null;
  let node: Uint8Array = leaf;
  let [at, last, used] = [index, size - 1, 0];
  for (; last > 0; at = Math.floor(at / 2), last = Math.floor(last / 2)) {
    const isRight = at % 2 === 1;
    if (!isRight && at === last) continue;
    const sibling = path[used];
    if (sibling === undefined || sibling.length !== hashBytes) return null;
    used += 1;
    node = isRight ? nodeHash(sibling, node) : nodeHash(node, sibling);
  }
  return used === path.length ? Buffer.from(node) : null;
}

function above(level: readonly Buffer[]): Buffer[] {
  const next: Buffer[] = [];
  for (let i = 0; i + 1 < level.length; i += 2)
    next.push(nodeHash(level[i] as Buffer, level[i + 1] as Buffer));
  if (level.length % 2 === 1) next.push(level.at(-1) as Buffer);
  return next;
}

function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  const input = Buffer.allocUnsafe(nodeBytes);
  input[0] = 0x01;
  input.set(left, 1);
  input.set(right, 1 + hashBytes);
  return hash('sha256', input, 'buffer');
}
