import { createSecretKey } from 'node:crypto';
import { marker } from './memory-marker.ts';
import { dataKeyContext, intakeContext } from '../../src/vault/context.ts';
import { createHpke, deriveKeyPair } from '../../src/vault/hpke.ts';
import { intakeInfo, openIntakeValue } from '../../src/vault/intake-key.ts';
import { cutValue } from '../../src/vault/intake.ts';
import { createOpener } from '../../src/vault/open.ts';
import { kinds, openRecord } from '../../src/vault/record.ts';
import { sealSecret } from '../../src/vault/seal-secret.ts';

/**
 * Takes keys in (in a body, and sealed to the intake key), seals and opens them as the gateway does (half of them with a seal), then says on standard output how many bytes were opened and waits for
 * its memory to be read. Keys are made byte by byte: a literal would be a copy. With `hold` one is kept, as the positive control.
 */
const [doHold, openings] = [process.argv[2] === 'hold', Number(process.argv[3])];
const clock = (): number => 0;
const knownOrigins = (): null => null;
const root = createSecretKey(marker(32, 'workspace key'));
const handle = {
  workspaceId: 'ws_1',
  version: 1,
  key: root,
  verifier: root,
  rowMac: root,
  fingerprint: root,
};
const place = { origin: 'https://api.example', header: 'authorization' };

const ikm = marker(32, 'a seal of thirty-two bytes');
const seal = { id: 'seal_1', publicKey: deriveKeyPair(ikm).publicKey };
const intakePair = deriveKeyPair(marker(32, 'an intake key'));
const intakeHpke = createHpke(intakeInfo);
const at = { workspaceId: 'ws_1', version: 1, provider: 'mine', auth: 'bearer' } as const;

function takenFromBody(): Buffer | null {
  const start = Buffer.from('{"name":"main","value":"');
  const body = Buffer.from(new ArrayBuffer(start.length + 53));
  body.set(start);
  const value = marker(51, 'provider key');
  body.set(value, start.length);
  value.fill(0);
  body.write('"}', start.length + 51);
  return cutValue(body).secret;
}

function takenSealed(): Buffer {
  const value = marker(51, 'provider key');
  const sealed = intakeHpke.seal(intakePair.publicKey, intakeContext(at), value);
  value.fill(0);
  return openIntakeValue(intakePair, sealed, at);
}

const rows = Array.from({ length: 50 }, (_, index) => {
  const secret = index % 2 === 0 ? takenFromBody() : takenSealed();
  const isSealed = index % 4 > 1;
  const deps = { deploymentId: 'dep_1', knownOrigins, clock };
  const key = { ...at, keyId: `key_${index}`, origins: [place.origin] };
  const sealed = sealSecret(deps, handle, root, { ...key, secret, seal: isSealed ? seal : null });
  secret?.fill(0);
  const standard = { protection: 'standard', sealId: null, sealPublicKey: null } as const;
  const toSeal = { protection: 'sealed', sealId: seal.id, sealPublicKey: seal.publicKey } as const;
  return { ...key, ...(isSealed ? toSeal : standard), ...sealed };
});

const opener = createOpener({
  deploymentId: 'dep_1',
  workspaceKey: async () => handle,
  knownOrigins,
  clock,
  alarm: () => {},
});
const prepared = await Promise.all(rows.map((row) => opener.prepare(row, ikm)));
const into = Buffer.from(new ArrayBuffer(9000));
let bytes = 0;
for (let i = 0; i < openings; i += 1) {
  bytes += prepared[i % prepared.length]?.openInto(into, 0, place) ?? 0;
  into.fill(0);
  const row = rows[i % rows.length];
  if (row === undefined || i % 10 > 0) continue;
  takenSealed().fill(0);
  openRecord(root, kinds.dataKey, dataKeyContext({ deploymentId: 'dep_1', ...row }), row.wrap).fill(0);
}
if (doHold) prepared[0]?.openInto(into, 0, place);
process.stdout.write(`${bytes}\n`);
// A listener that uses it: what nobody can reach any more the collector may take before it is looked for.
process.stdin.on('data', () => into.fill(0));
