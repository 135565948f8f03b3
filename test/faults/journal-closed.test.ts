import t, { type Test } from 'tap';
import { diskFiles, type FileSeam, type Sync } from '../../src/journal/file-seam.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { ask, type Answered } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const key = 'sk-test-journal-0123456789abcdef';

/** The real disk, until it is full. */
function fillableDisk(): FileSeam & { isFull: boolean } {
  const full = (): Promise<never> =>
    Promise.reject(Object.assign(new Error('no space left on device'), { code: 'ENOSPC' }));
  const disk = {
    isFull: false,
    async create(path: string, sync: Sync) {
      if (disk.isFull) return full();
      const file = await diskFiles.create(path, sync);
      return {
        write: (bytes: Buffer, offset: number, length: number, position: number) =>
          disk.isFull ? full() : file.write(bytes, offset, length, position),
        datasync: () => (disk.isFull ? full() : file.datasync()),
        close: () => file.close(),
      };
    },
    put: (path: string, text: string) => (disk.isFull ? full() : diskFiles.put(path, text)),
  };
  return disk;
}

async function start(t: Test) {
  const disk = fillableDisk();
  const upstream = await scriptUpstream(t, { key });
  const origins = { openai: upstream.origin, anthropic: upstream.origin, google: upstream.origin };
  const gateway = await startGateway(t, { upstreams: origins, journalFiles: disk });
  for (const provider of Object.keys(origins)) await gateway.addKey(provider, key);
  return { disk, upstream, gateway };
}

const paths = [
  '/v1/chat/completions',
  '/openai/v1/chat/completions',
  '/anthropic/v1/messages',
  '/google/v1beta/models/gemini-x:generateContent',
];

const call = (gateway: TestGateway, path: string): Promise<Answered> =>
  ask(gateway.origin + path, { headers: { 'x-api-key': gateway.token }, body: { model: 'gpt-4o' } });

async function opens(gateway: TestGateway): Promise<number> {
  const lines = (await gateway.metrics())
    .split('\n')
    .filter((line) => line.startsWith('sallyport_key_opens_total{'));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

t.test(
  'without a journal no key is opened: every dialect gets 503, and the provider sees nothing',
  async (t) => {
    const { disk, upstream, gateway } = await start(t);
    for (const path of paths) t.equal((await call(gateway, path)).status, 200);
    const before = upstream.requests.length;
    const connections = upstream.connections;
    const openedBefore = await opens(gateway);
    t.equal(openedBefore, before, 'each call opened a key');
    disk.isFull = true;
    for (const path of [...paths, ...paths]) {
      const answer = await call(gateway, path);
      t.equal(answer.status, 503, path);
      t.equal(answer.header('x-sallyport-code'), 'JOURNAL_UNAVAILABLE');
      t.ok(Number(answer.header('retry-after')) >= 1);
      t.equal(answer.header('x-should-retry'), null, 'a repeat may help');
    }
    const upload = await ask(`${gateway.origin}/openai/v1/files`, {
      headers: { 'x-api-key': gateway.token, 'content-type': 'multipart/form-data; boundary=x' },
      body: Buffer.alloc(300_000, 'x'),
    });
    t.equal(upload.status, 503);
    t.equal(upstream.requests.length, before);
    t.equal(upstream.connections, connections, 'not even a connection was made');
    t.equal(await opens(gateway), openedBefore);
    const readiness = await ask(`${gateway.origin}/readyz`);
    t.match(
      { status: readiness.status, body: readiness.json() },
      { status: 503, body: { status: 'not_ready', checks: { journal: 'failed' } } },
    );
    t.match(await gateway.metrics(), /^sallyport_journal_gate_closed 1$/m);
    t.match(
      (await gateway.api('POST', '/tokens', { name: 'x' })).body,
      { code: 'JOURNAL_UNAVAILABLE' },
      'nor does the admin side act',
    );

    disk.isFull = false;
    const from = performance.now();
    while ((await call(gateway, '/v1/chat/completions')).status !== 200)
      if (performance.now() - from > 10_000) throw new Error('it stays closed');
    t.match(await gateway.metrics(), /^sallyport_journal_gate_closed 0$/m);
  },
);

t.test(
  'a stream that runs while the journal fails goes on, and its end is on record when the journal is back',
  async (t) => {
    const { disk, upstream, gateway } = await start(t);
    const rest = Promise.withResolvers<void>();
    upstream.respond([{ events: ['{"choices":[]}', rest.promise, '[DONE]'] }]);
    const head = Promise.withResolvers<void>();
    const stream = ask(`${gateway.origin}/openai/v1/chat/completions`, {
      headers: { 'x-api-key': gateway.token },
      body: { model: 'gpt-4o', stream: true, stream_options: { include_usage: true } },
      onData: () => head.resolve(),
    });
    await head.promise;
    disk.isFull = true;
    t.equal((await call(gateway, '/v1/chat/completions')).status, 503);
    rest.resolve();
    const answer = await stream;
    t.ok(answer.isWhole);
    t.equal(answer.body.toString(), 'data: {"choices":[]}\n\ndata: [DONE]\n\n');
    disk.isFull = false;
    const from = performance.now();
    while (!gateway.installation.journal.isOpen()) {
      await ask(`${gateway.origin}/healthz`);
      if (performance.now() - from > 10_000) throw new Error('it stays closed');
    }
    await gateway.shipped();
    const rows = await gateway.database.store.asSystem((tx) =>
      tx.selectFrom('usage_events').select(['call_id', 'outcome']).execute(),
    );
    t.same(rows, [{ call_id: answer.header('x-request-id'), outcome: 'ok' }]);
  },
);
