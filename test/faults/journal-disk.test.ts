import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { ask, type Answered } from '../support/http-client.ts';
import { installProduct, type Serving } from '../support/product.ts';
import { scriptUpstream } from '../support/upstream.ts';
import { readBooks, untilShipped } from './books.ts';
import { diskFaults, lacksFaults, smallDisk, type Fault } from './disk-faults.ts';

t.setTimeout(120_000);

interface Made {
  readonly adminToken: string;
  readonly token: string;
}

const key = `sk-${randomBytes(24).toString('hex')}`;
const paths = [
  '/v1/chat/completions',
  '/openai/v1/chat/completions',
  '/anthropic/v1/messages',
  '/google/v1beta/models/gemini-x:generateContent',
];

/** Full by a disk that is full, where one may be mounted; everything else by a library that the process is started with. */
const causes = [
  'a full disk',
  'a sync that fails',
  'a read-only file system',
  'a sync that takes too long',
] as const;

t.test(
  'the real process on a disk that fails opens no key, says so, and goes on by itself when it is mended',
  { skip: lacksFaults },
  async (t) => {
    const disk = diskFaults(t);
    const upstream = await scriptUpstream(t, { key });
    const product = await installProduct(t, {
      settings: {
        ...disk.settings,
        JOURNAL_MAX_BYTES: '16MiB',
        SALLYPORT_OPENAI_ORIGIN: upstream.origin,
        SALLYPORT_ANTHROPIC_ORIGIN: upstream.origin,
        SALLYPORT_GOOGLE_ORIGIN: upstream.origin,
      },
    });
    const small = smallDisk(t, path.join(product.dataDir, 'journal'), 8 * 1024 ** 2);
    const gateway = await product.serve();
    const first = JSON.parse(readFileSync(path.join(product.dataDir, 'first-start.json'), 'utf8')) as Made;
    const api = (to: string, body: object): Promise<Answered> =>
      ask(`${gateway.origin}/api${to}`, { headers: { authorization: `Bearer ${first.adminToken}` }, body });
    for (const provider of ['openai', 'anthropic', 'google'])
      await api('/api-keys', { name: provider, provider, value: key, force: true });
    const { token } = (await api('/tokens', { name: 'app', requestsPerMinute: 100_000 })).json() as Made;
    const call = (to: string): Promise<Answered> =>
      ask(gateway.origin + to, { headers: { 'x-api-key': token }, body: { model: 'gpt-4o' } });
    const set = (fault: Fault): void => {
      if (fault === 'a full disk' && small !== null) small.fill();
      else disk.set(fault);
    };
    const mend = (): void => {
      small?.free();
      disk.set('none');
    };

    let answered = 0;
    for (const cause of causes) {
      await t.test(cause, async (t) => {
        for (const to of paths) t.equal((await call(to)).status, 200, to);
        const stream = await openStream(t, gateway);
        set(cause);
        // The last page of a file has room left on a disk without any.
        for (let n = 0; n < 10 && (await call(paths[0]!)).status === 200; n += 1) answered += 1;
        const before = {
          seen: upstream.requests.length,
          connections: upstream.connections,
          opens: await opens(gateway),
        };
        for (const to of [...paths, ...paths]) {
          const answer = await call(to);
          t.equal(answer.status, 503, to);
          t.equal(answer.header('x-sallyport-code'), 'JOURNAL_UNAVAILABLE');
        }
        const after = {
          seen: upstream.requests.length,
          connections: upstream.connections,
          opens: await opens(gateway),
        };
        t.same(after, before, 'no key was opened, and the provider saw nothing');
        const readiness = await ask(`${gateway.origin}/readyz`);
        t.match([readiness.status, readiness.json()], [503, { checks: { journal: 'failed' } }]);
        t.match(await metricsOf(gateway), /^sallyport_journal_gate_closed 1$/m);
        stream.finish();
        t.ok((await stream.answer).isWhole, 'a call under way goes on to its end');
        mend();
        const from = performance.now();
        while ((await call(paths[0]!)).status !== 200)
          if (performance.now() - from > 30_000) throw new Error('it stays closed');
        t.match(await metricsOf(gateway), /^sallyport_journal_gate_closed 0$/m);
        t.equal((await ask(`${gateway.origin}/readyz`)).status, 200);
        answered += paths.length + 2;
      });
    }

    await untilShipped(gateway.origin);
    const books = await readBooks(product.dataDir);
    t.equal(books.rows.length, answered, 'each answered call has its row');
    t.ok(books.rows.every((row) => row.endsWith(' 1 ok')));
    t.same([books.begins.length, books.ends.length], [answered, answered]);
    t.equal(upstream.requests.length, answered);
    t.match(await product.run(['journal', 'verify']), { ok: true, problems: [], openCalls: 0 });
    gateway.signal('SIGTERM');
    t.equal(await gateway.ended, 0);
    small?.unmount();

    async function openStream(t: Test, { origin }: Serving) {
      const rest = Promise.withResolvers<void>();
      upstream.respond([{ events: ['{"choices":[]}', rest.promise, '[DONE]'] }]);
      const begun = Promise.withResolvers<void>();
      const answer = ask(`${origin}/v1/chat/completions`, {
        headers: { 'x-api-key': token },
        body: { model: 'gpt-4o', stream: true, stream_options: { include_usage: true } },
        onData: () => begun.resolve(),
      });
      t.teardown(() => rest.resolve());
      await begun.promise;
      upstream.respond([{ body: { choices: [] } }]);
      return { answer, finish: rest.resolve };
    }
  },
);

async function metricsOf({ origin }: Serving): Promise<string> {
  return (await fetch(`${origin}/metrics`)).text();
}

async function opens(gateway: Serving): Promise<number> {
  const lines = (await metricsOf(gateway)).split('\n');
  return lines
    .filter((line) => line.startsWith('sallyport_key_opens_total{'))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}
