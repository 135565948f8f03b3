import { createSecretKey } from 'node:crypto';
import { marker } from './memory-marker.ts';
import { dataKeyContext } from '../../src/vault/context.ts';
import { cutValue } from '../../src/vault/intake.ts';
import { createOpener } from '../../src/vault/open.ts';
import { kinds, openRecord } from '../../src/vault/record.ts';
import { sealSecret } from '../../src/vault/seal-secret.ts';

/**
 * Takes keys in, seals and opens them as the gateway does, then says on standard output how many bytes were opened and waits for
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

const rows = Array.from({ length: 50 }, (_, index) => {
  const start = Buffer.from('{"name":"main","value":"');
  const body = Buffer.from(new ArrayBuffer(start.length + 53));
  body.set(start);
  const value = marker(51, 'provider key');
  body.set(value, start.length);
  value.fill(0);
  body.write('"}', start.length + 51);
  const { secret } = cutValue(body);
  const at = {
    workspaceId: 'ws_1',
    keyId: `key_${index}`,
    version: 1,
    provider: 'mine',
    auth: 'bearer',
  } as const;
  const deps = { deploymentId: 'dep_1', knownOrigins, clock };
  const sealed = sealSecret(deps, handle, root, { ...at, secret, origins: [place.origin] });
  secret?.fill(0);
  return { ...at, protection: 'standard' as const, sealId: null, sealPublicKey: null, ...sealed };
});

const opener = createOpener({
  deploymentId: 'dep_1',
  workspaceKey: async () => handle,
  knownOrigins,
  clock,
  alarm: () => {},
});
const prepared = await Promise.all(rows.map((row) => opener.prepare(row)));
const into = Buffer.from(new ArrayBuffer(9000));
let bytes = 0;
for (let i = 0; i < openings; i += 1) {
  bytes += prepared[i % prepared.length]?.openInto(into, 0, place) ?? 0;
  into.fill(0);
  const row = rows[i % rows.length];
  if (row === undefined || i % 10 > 0) continue;
  openRecord(root, kinds.dataKey, dataKeyContext({ deploymentId: 'dep_1', ...row }), row.wrap).fill(0);
}
if (doHold) prepared[0]?.openInto(into, 0, place);
process.stdout.write(`${bytes}\n`);
// A listener that uses it: what nobody can reach any more the collector may take before it is looked for.
process.stdin.on('data', () => into.fill(0));
