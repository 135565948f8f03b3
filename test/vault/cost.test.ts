import t from 'tap';
import { measureVault, type VaultCaseName } from '../../bench/vault-cases.ts';

t.test('opening costs a few ciphers and no more: ratios of one run, with a wide margin', async (t) => {
  const results = await measureVault(4, 150);
  const medianUs = (name: VaultCaseName): number =>
    results.find((one) => one.name === name)?.medianUs ?? Number.NaN;
  const [gcm, x25519] = [medianUs('bare AES-256-GCM'), medianUs('bare X25519')];
  // A quiet machine measures about 4, 10, 4 and 4; what this catches is a derivation or a key made anew at each warm opening.
  const most: readonly (readonly [VaultCaseName, number, number])[] = [
    ['standard, warm', gcm, 12],
    ['standard, cold', gcm, 60],
    ['sealed, warm', x25519, 12],
    ['seal, sealed', x25519, 20],
  ];
  for (const [name, unit, times] of most)
    t.ok(medianUs(name) < unit * times, `${name}: ${medianUs(name) / unit}`);
});
