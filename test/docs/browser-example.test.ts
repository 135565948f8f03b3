import { existsSync, readFileSync } from 'node:fs';
import { once } from 'node:events';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { chromium } from 'playwright-core';
import t, { type Test } from 'tap';
import { startGateway } from '../support/gateway.ts';
import { scriptUpstream } from '../support/upstream.ts';
import { root } from './pages.ts';

const executablePath = '/usr/bin/chromium';
const skip = existsSync(executablePath) ? false : 'chromium is not installed';

/** The page and the gateway under one origin, as a proxy would have them; `heard`: all that went through it. */
async function servePage(t: Test, gateway: string): Promise<{ origin: string; heard: Buffer[] }> {
  const page = readFileSync(path.join(root, 'docs/examples/store-a-key.html'));
  const heard: Buffer[] = [];
  const server: Server = createServer((incoming, response) => {
    const { url = '/', method = '', headers } = incoming;
    if (!url.startsWith('/api/')) {
      response.writeHead(200, { 'content-type': 'text/html' }).end(page);
      return;
    }
    const { authorization, 'content-type': type } = headers;
    const passed = { ...(authorization && { authorization }), ...(type && { 'content-type': type }) };
    heard.push(Buffer.from(`${method} ${url}`));
    const outgoing = request(gateway + url, { method, headers: passed }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, { 'content-type': answer.headers['content-type'] });
      answer.on('data', (piece: Buffer) => heard.push(piece)).pipe(response);
    });
    incoming.on('data', (piece: Buffer) => heard.push(piece)).pipe(outgoing);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, heard };
}

t.test(
  'a key that docs/examples/store-a-key.html sealed in a browser reaches the provider, and nobody on the way',
  { skip },
  async (t) => {
    const value = 'sk-proj-sealed-by-webcrypto-0123456789';
    const upstream = await scriptUpstream(t, {
      key: value,
      script: () => ({ body: { id: 'c_1', object: 'chat.completion', choices: [] } }),
    });
    const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
    const { origin, heard } = await servePage(t, gateway.origin);

    const context = await chromium.launchPersistentContext(t.testdir({}), {
      executablePath,
      headless: true,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    });
    t.teardown(() => context.close());
    const page = await context.newPage();
    await page.goto(origin);
    const submit = async (provider: string, key: string): Promise<string> => {
      await page.fill('[name=token]', gateway.adminToken);
      await page.fill('[name=provider]', provider);
      await page.fill('[name=key]', key);
      await page.evaluate(`document.querySelector('output').value = ''`);
      await page.click('button');
      await page.waitForFunction(`document.querySelector('output').value !== ''`);
      return page.textContent('output').then(String);
    };
    t.match(await submit('openai', 'not a key'), /white space/, 'a refusal is shown');
    const told = await submit('openai', value);
    t.match(told, /^Stored key_[0-9a-f]{32}, which ends in 6789\.$/);

    const answer = await fetch(`${gateway.origin}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${gateway.token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'gpt-4o-mini', messages: [] }),
    });
    t.equal(answer.status, 200, 'the upstream refuses every key but this one');
    t.equal(upstream.requests.length, 1);
    const passed = Buffer.concat(heard);
    t.match(passed.toString('latin1'), /"sealedValue":"ik_/, 'the control');
    for (const form of [value, Buffer.from(value).toString('base64url').slice(0, 40)])
      t.notOk(passed.includes(form), 'what went through the proxy does not hold the key');
  },
);
