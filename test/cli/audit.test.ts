import { PassThrough, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { runCli } from '../../src/cli/run.ts';
import { readConfig } from '../../src/config.ts';
import { startGateway } from '../support/gateway.ts';
import { said } from '../support/said.ts';

const gateway = await startGateway(t);
const admin = await gateway.api('POST', '/tokens', { name: 'watcher', kind: 'admin' });

/** One command, over HTTP, with what it writes. */
function run(...argv: string[]) {
  const [output, error] = [new PassThrough(), new PassThrough()];
  const exit = runCli({
    argv: [...argv, '--url', gateway.origin],
    terminal: { input: new PassThrough(), output, error },
    version: 'test',
    readConfig: () => readConfig({ DATA_DIR: '/nowhere', SALLYPORT_ADMIN_TOKEN: admin.body.token }),
    loadDeps: () => Promise.reject(new Error('nothing is opened here')),
  });
  void exit.then(() => output.end());
  return { output, error, exit };
}

async function textOf(stream: AsyncIterable<unknown>): Promise<string> {
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  return text;
}

t.test('records are listed, exported and shown as they come', async (t) => {
  await gateway.shipped();
  const listed = run('audit', 'list', '--event', 'token.*', '--json');
  const { data } = JSON.parse(await textOf(listed.output));
  t.equal(await listed.exit, 0);
  t.ok(data.length >= 2 && data.every((one: { event: string }) => one.event.startsWith('token.')));

  const exported = run('audit', 'export', '--event', 'token.*');
  const lines = (await textOf(exported.output))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  t.same(lines, data);
  const csv = run('audit', 'export', '--event', 'token.*', '--format', 'csv');
  t.match(await textOf(csv.output), /^at,stream,seq,event,/);
  t.equal(await run('audit', 'export', '--format', 'xml').exit, 2);

  const tail = run('audit', 'tail', '--event', 'user.*', '--json');
  const shown = tail.output[Symbol.asyncIterator]();
  const first = shown.next();
  // It may not have come in yet: what comes before that it is not told of.
  const state = { isTold: false };
  void first.then(() => (state.isTold = true));
  const made = new Set<string>();
  while (!state.isTold) {
    made.add((await gateway.api('POST', '/users', { name: 'somebody' })).body.id);
    await gateway.shipped();
    // An admin may make 60 changes a minute, and a quick machine makes them all before the tail has looked once.
    await Promise.race([first, sleep(500)]);
  }
  const told = JSON.parse(String((await first).value).split('\n')[0] ?? '');
  t.match(told.event, /^user\.create\./);
  t.ok(made.has(told.record.userId));
  t.equal((await gateway.api('DELETE', `/tokens/${admin.body.id}`)).status, 200);
  t.equal(await tail.exit, 1, 'a token that was revoked is shown no more');
  t.match(said(tail.error), /revoked/);
});

t.test('a tail ends with its reader, and with a disk that is full', async (t) => {
  const user = await gateway.api('POST', '/users', { name: 'somebody else' });
  const key = await gateway.api('POST', '/tokens', { name: 'another watcher', kind: 'admin' });
  for (const [code, expected] of [
    ['EPIPE', 0],
    ['ENOSPC', 4],
  ] as const) {
    const error = new PassThrough();
    const output = new Writable({
      write: (_chunk, _encoding, done) => done(Object.assign(new Error(`${code}: no`), { code })),
    });
    output.on('error', () => {});
    const state = { isOver: false };
    const exit = runCli({
      argv: ['audit', 'tail', '--event', 'user.*', '--json', '--url', gateway.origin],
      terminal: { input: new PassThrough(), output, error },
      version: 'test',
      readConfig: () => readConfig({ DATA_DIR: '/nowhere', SALLYPORT_ADMIN_TOKEN: key.body.token }),
      loadDeps: () => Promise.reject(new Error('nothing is opened here')),
    }).finally(() => (state.isOver = true));
    while (!state.isOver) {
      await gateway.api('PATCH', `/users/${user.body.id}`, { name: `somebody ${Date.now()}` });
      await gateway.shipped();
      await Promise.race([exit, sleep(500)]);
    }
    t.equal(await exit, expected, code);
  }
});
