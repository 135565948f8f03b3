import { hash } from 'node:crypto';
import t from 'tap';
import { leafHash, merkleTree, rootFromPath } from '../../src/journal/merkle.ts';

const hex = (bytes: Uint8Array | null): string | null =>
  bytes === null ? null : Buffer.from(bytes).toString('hex');
const bytes = (text: string): Buffer => Buffer.from(text, 'hex');

/** Leaves, roots and paths of Certificate Transparency's own tests of RFC 6962 (merkle_tree_test.cc). */
const leaves = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
].map(bytes);
const roots = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];
const paths: readonly [index: number, size: number, path: readonly string[]][] = [
  [0, 1, []],
  [
    0,
    8,
    [
      '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4',
    ],
  ],
  [
    5,
    8,
    [
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
      'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ],
  ],
  [2, 3, ['fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125']],
  [
    1,
    5,
    [
      '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
    ],
  ],
];

/** MTH as the RFC writes it down, a second time. */
function treeHash(data: readonly Uint8Array[]): Buffer {
  const sha = (...parts: Uint8Array[]): Buffer => hash('sha256', Buffer.concat(parts), 'buffer');
  if (data.length < 2) return data.length === 0 ? sha() : sha(Uint8Array.of(0), data[0] as Uint8Array);
  let k = 1;
  while (k * 2 < data.length) k *= 2;
  return sha(Uint8Array.of(1), treeHash(data.slice(0, k)), treeHash(data.slice(k)));
}

const leavesOf = (count: number): Buffer[] =>
  Array.from({ length: count }, (_, i) => hash('sha256', `leaf ${i}`, 'buffer'));

t.test('the vectors of Certificate Transparency come out', async (t) => {
  for (const [size, root] of roots.entries()) t.equal(hex(merkleTree(leaves.slice(0, size)).root), root);
  for (const [index, size, path] of paths) {
    t.same(merkleTree(leaves.slice(0, size)).path(index).map(hex), path, `${index} of ${size}`);
    const found = rootFromPath(leafHash(leaves[index] as Buffer), index, size, path.map(bytes));
    t.equal(hex(found), roots[size]);
  }
});

t.test('every leaf of every tree of 1 to 300 leaves proves, and in its own place alone', async (t) => {
  const wrong: string[] = [];
  for (let size = 1; size <= 300; size += 1) {
    const data = leavesOf(size);
    const root = hex(treeHash(data));
    const tree = merkleTree(data);
    if (hex(tree.root) !== root) wrong.push(`root of ${size}`);
    for (const index of data.keys()) {
      const path = tree.path(index);
      const leaf = leafHash(data[index] as Buffer);
      if (hex(rootFromPath(leaf, index, size, path)) !== root) wrong.push(`${index} of ${size}`);
      const other = index === 0 ? 1 : index - 1;
      if (hex(rootFromPath(leaf, other, size, path)) === root) wrong.push(`${index} as ${other} of ${size}`);
    }
  }
  t.same(wrong, []);
});

t.test('a flipped bit, a path too short or too long, another size: none of them proves', async (t) => {
  const wrong: string[] = [];
  for (const size of [1, 2, 3, 7, 8, 13, 100]) {
    const data = leavesOf(size);
    const tree = merkleTree(data);
    const root = hex(tree.root);
    for (const index of data.keys()) {
      const leaf = leafHash(data[index] as Buffer);
      const path = tree.path(index);
      const proves = (given: Buffer, from: readonly Buffer[], of = size): boolean =>
        hex(rootFromPath(given, index, of, from)) === root;
      const flipped = (one: Buffer, bit: number): Buffer => {
        const copy = Buffer.from(one);
        copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
        return copy;
      };
      for (let bit = 0; bit < 256; bit += size < 14 ? 1 : 29) {
        if (proves(flipped(leaf, bit), path)) wrong.push(`leaf ${index} of ${size}, bit ${bit}`);
        for (const at of path.keys())
          if (proves(leaf, path.with(at, flipped(path[at] as Buffer, bit))))
            wrong.push(`path ${at} of ${index} of ${size}, bit ${bit}`);
      }
      if (path.length > 0 && proves(leaf, path.slice(1))) wrong.push(`short ${index} of ${size}`);
      if (proves(leaf, [...path, leaf])) wrong.push(`long ${index} of ${size}`);
      if (proves(leaf, path, size * 2)) wrong.push(`size ${index} of ${size}`);
    }
  }
  t.same(wrong, []);
  const [data] = leavesOf(1) as [Buffer];
  t.equal(hex(rootFromPath(data, 0, 2, [Buffer.alloc(31)])), null);
  for (const [index, size] of [
    [-1, 3],
    [3, 3],
    [0.5, 3],
    [0, 0],
    [0, Number.NaN],
  ] as const)
    t.equal(rootFromPath(data, index, size, []), null);
  t.throws(() => merkleTree([data]).path(1), RangeError);
});
