import { spawnSync } from 'node:child_process';
import t from 'tap';
import { areCoreDumpsOn } from '../../src/cli/core-dumps.ts';

const module = new URL('../../src/cli/core-dumps.ts', import.meta.url).href;

function under(limit: string): string {
  const script = `import { areCoreDumpsOn } from ${JSON.stringify(module)}; process.stdout.write(String(areCoreDumpsOn()))`;
  const command = `ulimit -S -c ${limit}; exec "$0" --input-type=module -e '${script}'`;
  return spawnSync('sh', ['-c', command, process.execPath], { encoding: 'utf8' }).stdout;
}

t.test('the limit of the process says whether a crash would leave its memory behind', async (t) => {
  t.equal(under('0'), 'false');
  t.equal(areCoreDumpsOn('Max core file size        unlimited            unlimited            bytes'), true);
  t.equal(areCoreDumpsOn('Max core file size        0                    unlimited            bytes'), false);
  t.equal(areCoreDumpsOn(''), false, 'without /proc nothing is claimed');
  const isAllowed = spawnSync('sh', ['-c', 'ulimit -S -c 1'], { encoding: 'utf8' }).status === 0;
  t.equal(under('1'), String(isAllowed));
});

t.test(
  'Node’s permission model still refuses to sync a file, without which no record is durable',
  async (t) => {
    const script = `require('node:fs').fdatasyncSync(require('node:fs').openSync(process.execPath, 'r'))`;
    // `env -i` takes the test runner's own loaders away.
    const args = ['-i', process.execPath, '--permission', '--allow-fs-read=*', '-e', script];
    const run = spawnSync('env', args, { encoding: 'utf8' });
    t.match(
      run.stderr,
      /fdatasync API is disabled when Permission Model is enabled/,
      'else decision 14 is to be made anew',
    );
  },
);
