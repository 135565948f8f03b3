import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { startTraffic } from '../../bench/soak/traffic.ts';

t.test('while the clients of a soak are held, no call is under way and none begins', async (t) => {
  let [begun, underWay] = [0, 0];
  let onCall = (): void => {};
  const server = createServer((request, response) => {
    begun += 1;
    underWay += 1;
    onCall();
    response.on('close', () => (underWay -= 1));
    request.on('error', () => {}).on('end', () => response.end('{}'));
    request.resume();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const called = (count: number): Promise<void> =>
    new Promise((resolve) => {
      const wanted = begun + count;
      onCall = () => void (begun >= wanted && resolve());
    });
  const traffic = startTraffic({ port, token: 'any' }, { clients: 4, pauseMs: 0, random: Math.random });
  t.teardown(() => traffic.stop());
  await called(20);
  await traffic.hold();
  const held = begun;
  for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
  t.equal(begun, held);
  t.equal(underWay, 0);
  traffic.goOn();
  await called(20);
  t.ok(begun >= held + 20);
});

t.test('a gateway of a soak collects all garbage when it is told to', async (t) => {
  const collector = pathToFileURL(path.join(import.meta.dirname, '../../bench/soak/collector.ts')).href;
  const script = `
    const gone = new FinalizationRegistry(() => { console.log('gone'); process.exit(0); });
    (() => gone.register({ of: new Uint8Array(1e6) }, ''))();
    setInterval(() => {}, 1000);
    console.log('ready');`;
  const child = spawn(process.execPath, [`--import=${collector}`, '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    said += part;
    if (part.includes('ready')) child.kill('SIGUSR2');
  });
  await once(child, 'close');
  t.equal(said, 'ready\ngone\n');
});
