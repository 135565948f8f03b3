import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';

const root = path.join(import.meta.dirname, '..', '..');
const read = (name: string): string => readFileSync(path.join(root, 'docker', name), 'utf8');

t.test('the systemd unit is one that systemd takes, and leaves no core dump', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'sallyport-unit-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = path.join(folder, 'sallyport.service');
  const unit = read('sallyport.service');
  writeFileSync(file, unit.replaceAll('/opt/sallyport', root));
  const run = spawnSync('systemd-analyze', ['verify', '--man=no', file], { encoding: 'utf8' });
  t.equal(run.error, undefined, 'systemd-analyze is here');
  t.same([run.status, run.stderr], [0, '']);
  t.match(unit, /^LimitCORE=0$/m);
  t.match(unit, /^ExecStart=\/opt\/sallyport\/bin\/sallyport serve$/m);
});

t.test(
  'the container starts through the shim, copies only folders that exist, and leaves no core dump',
  async (t) => {
    const dockerfile = read('Dockerfile');
    t.match(dockerfile, /^ENTRYPOINT \["\/opt\/sallyport\/bin\/sallyport"\]$/m);
    for (const [, names] of dockerfile.matchAll(/^COPY ((?!--from)\S.*) \S+$/gm)) {
      for (const name of (names as string).split(' ')) t.ok(existsSync(path.join(root, name)), name);
    }
    t.match(read('compose.yaml'), /^ {4}ulimits:\n {6}core: 0$/m);
  },
);
