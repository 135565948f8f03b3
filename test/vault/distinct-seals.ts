import { createSecretKey, randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { kinds, sealRecord } from '../../src/vault/record.ts';

/**
 * Seals `count` records under one key and says how many salts and how many nonces were there before. Of each the first eight bytes are
 * compared, which is more than is asked: whose beginnings differ differ. Two of a million begin alike by chance once in 37 million runs.
 *
 * As a program: `node test/vault/distinct-seals.ts 1000000`, about 20 s.
 */
export function repeatedSeals(count: number): { readonly salts: number; readonly nonces: number } {
  const key = createSecretKey(randomBytes(32));
  const [context, plaintext] = [Buffer.from('place'), Buffer.from('secret')];
  const [salts, nonces] = [new BigUint64Array(count), new BigUint64Array(count)];
  for (let i = 0; i < count; i += 1) {
    const blob = sealRecord(key, kinds.payload, context, plaintext);
    salts[i] = blob.readBigUInt64LE(8);
    nonces[i] = blob.readBigUInt64LE(72);
  }
  return { salts: repeats(salts), nonces: repeats(nonces) };
}

function repeats(values: BigUint64Array): number {
  values.sort();
  return values.reduce((sum, value, at) => (at > 0 && value === values[at - 1] ? sum + 1 : sum), 0);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const count = Number(process.argv[2] ?? 1_000_000);
  const { salts, nonces } = repeatedSeals(count);
  process.stdout.write(`${count} seals: ${salts} repeated salts, ${nonces} repeated nonces\n`);
  process.exitCode = salts + nonces === 0 ? 0 : 1;
}
