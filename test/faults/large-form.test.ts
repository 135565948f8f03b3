import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import * as http from 'node:http';
import { toFile } from 'openai';
import t from 'tap';
import { openaiClient } from '../e2e/openai-sdk.ts';
import { startGateway } from '../support/gateway.ts';

t.setTimeout(120_000);

const key = 'sk-test-large-0123456789abcdef';
const mib = 1024 * 1024;
/** What came up, counted as it came: nothing is kept. */
const seen: { path: string; bytes: number; length: string | undefined }[] = [];
const provider = http.createServer((request, answer) => {
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  request.on('end', () => {
    const { url: path = '', headers } = request;
    seen.push({ path, bytes, length: headers['content-length'] });
    answer.writeHead(200, { 'content-type': 'application/json' }).end('{"text":"said","id":"file-1"}');
  });
});
provider.listen(0, '127.0.0.1');
await once(provider, 'listening');
t.teardown(() => provider.close());
const origin = `http://127.0.0.1:${(provider.address() as { port: number }).port}`;
const gateway = await startGateway(t, { upstreams: { openai: origin, groq: origin } });
for (const name of ['openai', 'groq']) await gateway.addKey(name, key);
t.teardown(() => provider.closeAllConnections());

t.test('the official SDK has 25 MB transcribed, whichever provider its model names', async (t) => {
  const sound = randomBytes(25 * mib);
  const client = openaiClient(gateway);
  for (const headers of [{}, { 'x-sallyport-provider': 'groq' }]) {
    const file = await toFile(sound, 'said.wav');
    // It sends the file first, so that the model is not in the first 64 KiB.
    const answer = await client.audio.transcriptions.create({ file, model: 'whisper-1' }, { headers });
    t.equal(answer.text, 'said');
    t.ok((seen.at(-1)?.bytes ?? 0) > sound.length);
  }
  t.same(
    seen.map(({ path }) => path),
    ['/v1/audio/transcriptions', '/openai/v1/audio/transcriptions'],
  );
});

t.test('a file of 512 MB goes up in little memory, and its model is renamed on the way', async (t) => {
  const boundary = 'x-0123456789';
  const field = (name: string, value: string): Buffer =>
    Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`);
  const fileHead = Buffer.from(
    `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n`,
  );
  const end = Buffer.from(`\r\n--${boundary}--\r\n`);
  const chunk = randomBytes(mib);
  const chunks = 511;
  const sent = field('model', 'groq/whisper');
  const length = sent.length + fileHead.length + chunks * mib + end.length;
  const before = process.memoryUsage();
  let most = { rss: 0, arrayBuffers: 0 };
  const request = http.request(`${gateway.origin}/v1/audio/transcriptions`, {
    method: 'POST',
    agent: false,
    headers: {
      authorization: `Bearer ${gateway.token}`,
      'content-type': `multipart/form-data; boundary=${boundary}`,
      'content-length': length,
    },
  });
  const responded = once(request, 'response') as Promise<[http.IncomingMessage]>;
  const write = async (bytes: Buffer): Promise<void> => {
    if (!request.write(bytes)) await once(request, 'drain');
  };
  await write(Buffer.concat([sent, fileHead]));
  for (let i = 0; i < chunks; i += 1) {
    await write(chunk);
    const { rss, arrayBuffers } = process.memoryUsage();
    most = { rss: Math.max(most.rss, rss), arrayBuffers: Math.max(most.arrayBuffers, arrayBuffers) };
  }
  request.end(end);
  const [answer] = await responded;
  answer.resume();
  t.equal(answer.statusCode, 200);
  const upstream = seen.at(-1);
  t.equal(upstream?.path, '/openai/v1/audio/transcriptions');
  t.equal(upstream?.bytes, length - 'groq/'.length);
  t.equal(upstream?.length, String(upstream?.bytes));
  const gathered = most.arrayBuffers - before.arrayBuffers;
  // 21 on a quiet machine; what waits for the collector on a busy one is garbage, and far from the file's 512.
  t.ok(gathered < 96 * mib, `${Math.round(gathered / mib)} MiB of buffers at most`);
  const grown = most.rss - before.rss;
  t.ok(grown < 192 * mib, `${Math.round(grown / mib)} MiB of memory at most`);
});
