import { PassThrough, Readable } from 'node:stream';
import t from 'tap';
import { runCli } from '../../src/cli/run.ts';
import { readConfig } from '../../src/config.ts';
import { startGateway } from '../support/gateway.ts';

t.setTimeout(60_000);

const gateway = await startGateway(t);
const value = 'sk-test-twice-0123456789abcdef';
const other = 'sk-test-other-0123456789abcdef';
for (const secret of [value, other]) gateway.watch(secret);

async function run(line: string, input: string, adminToken = gateway.adminToken) {
  const [output, error] = [new PassThrough(), new PassThrough()];
  const exit = await runCli({
    argv: line.split(' '),
    terminal: { input: Readable.from([Buffer.from(input)]), output, error },
    version: 'test',
    readConfig: () =>
      readConfig({
        DATA_DIR: '/nonexistent',
        SALLYPORT_URL: gateway.origin,
        SALLYPORT_ADMIN_TOKEN: adminToken,
      }),
    loadDeps: () => Promise.reject(new Error('over HTTP alone')),
  });
  output.end();
  error.end();
  const [out, err] = [(await output.toArray()).join(''), (await error.toArray()).join('')];
  t.notMatch(out + err, /sk-test/);
  return { exit, out, err, json: line.endsWith('--json') && out !== '' ? JSON.parse(out) : null };
}

const add = 'keys add --provider openai --force --name';

t.test('who stores a value that he has already is told which key has it', async (t) => {
  const first = await run(`${add} first --json`, value);
  t.match(first, { exit: 0, err: '', json: { duplicates: [] } });
  const second = await run(`${add} second`, value);
  t.match(second, { exit: 0, out: /^Stored key_/ });
  t.ok(second.err.startsWith(`The same value is stored as ${first.json.id}: at the provider`), second.err);
  const third = await run(`${add} third --json`, value);
  t.match(third, { exit: 0, err: '', json: { duplicates: [first.json.id, /^key_/] } });
  t.match(await run(`${add} alone`, `${other}x`), { exit: 0, err: '' });
});

t.test('who replaces a value by the same one, or by one that he has elsewhere, is told', async (t) => {
  const { json: key } = await run(`${add} replaced --json`, other);
  const same = await run(`keys replace ${key.id} --force`, other);
  t.match(same, { exit: 0, out: /version 2/, err: /^That is the value that it had before/ });
  t.notMatch(same.err, /stored as/);
  const told = await run(`keys replace ${key.id} --force --json`, value);
  t.match(told, {
    exit: 0,
    err: '',
    json: { version: 3, isSameValue: false, duplicates: [/^key_/, /^key_/, /^key_/] },
  });
  t.match((await run(`keys replace ${key.id} --force`, value)).err, /before[^]*stored as key_/);
});

t.test('nobody learns of a key that he does not see, here or in another workspace', async (t) => {
  const { body: ann } = await gateway.api('POST', '/users', { name: 'ann' });
  const token = { name: 'hers', kind: 'admin', userId: ann.id };
  const { body: hers } = await gateway.api('POST', '/tokens', token);
  t.match(await run(`${add} hers --json`, value, hers.token), { exit: 0, json: { duplicates: [] } });
  t.match(await run(`${add} hers`, `${value}2`, hers.token), { exit: 0, err: '' });
  const { body: made } = await gateway.api('POST', '/workspaces', { name: 'second' });
  const theirs = await run(`${add} theirs --json`, value, made.adminToken);
  t.match(theirs, { exit: 0, json: { duplicates: [] } });
  const again = await run(`${add} again --json`, value, made.adminToken);
  t.same(again.json.duplicates, [theirs.json.id], 'theirs alone');
});
