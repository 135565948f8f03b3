import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { sealSecretText } from '../../src/seal-text.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';

const script = fileURLToPath(new URL('thief.ts', import.meta.url));
const newKey = (): string => `sk-${randomBytes(24).toString('hex')}`;

interface Haul {
  readonly opened: Readonly<Record<string, string>>;
  readonly closed: readonly string[];
}

/** Another process, which has what it was given and nothing else. */
function rob(gateway: TestGateway, { hasRing = false, credential = '' } = {}): Haul {
  const { connection } = gateway.database;
  const database = 'url' in connection ? { connectionString: connection.url } : connection;
  const keyring = path.join(gateway.journalDir, '..', 'keyring.json');
  const args = [script, '--database', JSON.stringify(database)];
  if (hasRing) args.push('--keyring', keyring);
  if (credential !== '') args.push('--credential', credential);
  const run = spawnSync(process.execPath, args, { encoding: 'utf8', env: {} });
  if (run.status !== 0) throw new Error(run.stderr);
  return JSON.parse(run.stdout);
}

t.test('what a thief opens with what he stole is what docs/threat-model.md says', async (t) => {
  const gateway = await startGateway(t);
  const ikm = randomBytes(32);
  const seal = sealSecretText(ikm);
  const publicKey = gateway.installation.vault.sealPublicKeyOf(ikm).toString('base64url');
  const made = await gateway.api('POST', '/seals', { name: 'half of the lock', publicKey });
  t.equal(made.status, 201, JSON.stringify(made.body));

  const [standard, other, sealed] = [newKey(), newKey(), newKey()];
  const ids = {
    standard: await gateway.addKey('openai', standard),
    other: await gateway.addKey('anthropic', other),
    sealed: await gateway.addKey('openai', sealed, { protection: 'sealed', sealId: made.body.id }),
  };
  const credential = `${gateway.token}.${seal}`;
  const all = Object.values(ids).toSorted();

  t.same(rob(gateway), { opened: {}, closed: all }, 'the database alone: nothing');
  t.same(rob(gateway, { credential }), { opened: {}, closed: all }, 'with a logged token and seal: nothing');
  t.same(
    rob(gateway, { hasRing: true }),
    { opened: { [ids.standard]: standard, [ids.other]: other }, closed: [ids.sealed] },
    'with the keyring: every standard key and no sealed one',
  );
  t.same(
    rob(gateway, { hasRing: true, credential }).opened,
    { [ids.standard]: standard, [ids.other]: other, [ids.sealed]: sealed },
    'with all three also the sealed one (positive control)',
  );
});
