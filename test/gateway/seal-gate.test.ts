import { randomBytes } from 'node:crypto';
import t from 'tap';
import type { SallyportError } from '../../src/errors.ts';
import { createSealGate } from '../../src/gateway/seal-gate.ts';
import { createLimits } from '../../src/limits/limits.ts';
import { sealPairOf } from '../../src/vault/seal-pair.ts';
import { newSeal, type TestSeal } from '../support/seal.ts';
import { keyOf } from './callers-fixture.ts';

/** A key of the provider's name that opens with this seal; whether it does is judged as the vault judges it. */
function sealedTo(seal: TestSeal, id: string) {
  const key = keyOf(id);
  const place = { sealId: `seal_${id}`, sealPublicKey: Buffer.from(seal.publicKey, 'base64url') };
  return {
    ...key,
    protection: 'sealed' as const,
    sealed: { ...key.sealed, protection: 'sealed' as const, ...place },
    async prepare(secret: Uint8Array | null) {
      sealPairOf(secret, place);
      return { maxBytes: 64, openInto: () => 0, checkOrigin: () => {}, wipe: () => {} };
    },
  };
}

function start() {
  let now = 1_800_000_000_000;
  const refused: string[] = [];
  const gate = createSealGate({
    limits: createLimits({ clock: () => now }),
    metrics: { authRefused: (code) => void refused.push(code) },
  });
  const sender = { workspaceId: 'ws_a', tokenId: 'tok_a', ip: '192.0.2.1' };
  const attempt = async (
    key: ReturnType<typeof sealedTo>,
    seal: Buffer,
    who: Partial<typeof sender> = {},
  ): Promise<string> => {
    try {
      await gate.prepare(key, seal, { ...sender, ...who });
      return 'ok';
    } catch (error) {
      return (error as SallyportError).code;
    }
  };
  const guess = async (key: ReturnType<typeof sealedTo>, times: number, who: Partial<typeof sender> = {}) => {
    const codes: string[] = [];
    for (let n = 0; n < times; n += 1) codes.push(await attempt(key, randomBytes(32), who));
    return codes;
  };
  return { attempt, guess, refused, advance: (ms: number) => (now += ms) };
}

t.test('an old seal that a program keeps sending is one guess, and locks nobody out', async (t) => {
  const { attempt, guess, refused } = start();
  const [mine, old] = [newSeal(), newSeal()];
  const key = sealedTo(mine, 'a');
  for (let n = 0; n < 100; n += 1) t.equal(await attempt(key, old.ikm), 'SEAL_WRONG');
  t.equal(refused.length, 100, 'each is counted by the metrics');
  t.equal(await attempt(key, mine.ikm), 'ok', 'a new seal, never seen before, by the same token');
  t.same(new Set((await guess(key, 35)).slice(30)), new Set(['RATE_LIMITED']), 'others are guesses');
  t.equal(await attempt(key, old.ikm), 'SEAL_WRONG', 'what was said before is said again');
});

t.test('a seal that is right for one key stays known while it is wrong for another', async (t) => {
  const { attempt, guess } = start();
  const [mine, theirs] = [newSeal(), newSeal()];
  const [first, second] = [sealedTo(mine, 'a'), sealedTo(theirs, 'b')];
  t.equal(await attempt(first, mine.ikm), 'ok');
  t.equal(await attempt(second, mine.ikm), 'SEAL_WRONG');
  await guess(second, 35);
  t.equal(await attempt(first, mine.ikm), 'ok');
  t.equal(await attempt(second, theirs.ikm), 'RATE_LIMITED', 'not even the right one tells itself');
});

t.test('a guesser with many tokens does not lock out another workspace at his address', async (t) => {
  const { attempt, guess, advance } = start();
  const mine = newSeal();
  const key = sealedTo(mine, 'a');
  for (let n = 0; n < 11; n += 1) await guess(key, 30, { tokenId: `tok_${n}` });
  t.equal(await attempt(key, mine.ikm, { tokenId: 'tok_new' }), 'RATE_LIMITED');
  t.equal(await attempt(key, mine.ikm, { tokenId: 'tok_b', workspaceId: 'ws_b' }), 'ok');
  advance(60_000);
  t.equal(await attempt(key, mine.ikm, { tokenId: 'tok_new' }), 'ok');
});

t.test('one caller’s seal opens nothing for another, whatever was right before', async (t) => {
  const { attempt, guess } = start();
  const mine = newSeal();
  const key = sealedTo(mine, 'a');
  t.equal(await attempt(key, mine.ikm), 'ok');
  await guess(key, 35, { tokenId: 'tok_b' });
  t.equal(await attempt(key, mine.ikm, { tokenId: 'tok_b' }), 'RATE_LIMITED', 'it was another token’s');
  t.equal(await attempt(key, mine.ikm), 'ok');
});
