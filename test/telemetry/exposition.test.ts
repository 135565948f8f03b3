import { spawnSync } from 'node:child_process';
import * as http from 'node:http';
import type { Socket } from 'node:net';
import t from 'tap';
import { codeRows, codeWords, page } from '../docs/pages.ts';
import { relayToDatabase } from '../faults/relay-to-database.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const key = 'sk-test-exposition-0123456789';
const isThere = spawnSync('promtool', ['--version']).status === 0;

/** One gateway for all of it: each of its tests adds to what was counted before. */
t.test('the metrics of a running gateway', async (t) => {
  const upstream = await scriptUpstream(t, {
    key,
    script: [{ body: { choices: [], usage: { prompt_tokens: 1, completion_tokens: 1 } } }],
  });
  const sockets = new Set<Socket>();
  let isFrozen = false;
  const gateway = await startGateway(t, {
    upstreams: { openai: upstream.origin },
    through: (direct) =>
      relayToDatabase(t, direct, sockets, (client, onward) => {
        client.on('data', (data: Buffer) => {
          if (!isFrozen) onward.write(data);
        });
        onward.pipe(client);
      }),
  });
  await gateway.addKey('openai', key);
  const chat = (body: object | string) =>
    ask(`${gateway.origin}/v1/chat/completions`, {
      headers: { authorization: `Bearer ${gateway.token}`, 'content-type': 'application/json' },
      body,
    });
  const sample = async (name: string): Promise<number> => {
    const found = (await gateway.metrics()).split('\n').find((line) => line.startsWith(`${name} `));
    return Number(found?.split(' ')[1]);
  };

  await t.test('say what it holds while a stream goes on, and what is left when it is over', async (t) => {
    const { promise: rest, resolve: end } = Promise.withResolvers<void>();
    upstream.respond([{ events: ['{"choices":[]}', rest, '[DONE]'] }]);
    const begun = Promise.withResolvers<void>();
    const stream = ask(`${gateway.origin}/v1/chat/completions`, {
      headers: { authorization: `Bearer ${gateway.token}` },
      body: { model: 'gpt-4o', messages: [], stream: true },
      onData: () => begun.resolve(),
    });
    await begun.promise;
    t.equal(await sample('sallyport_streams_held{kind="events"}'), 1);
    t.equal(await sample('sallyport_calls_in_flight{provider="openai"}'), 1);
    t.equal(await sample('sallyport_upstream_connections{state="busy"}'), 1);
    end();
    t.equal((await stream).status, 200);
    await gateway.shipped();
    t.equal(await sample('sallyport_streams_held{kind="events"}'), 0);
    t.equal(await sample('sallyport_upstream_connections{state="busy"}'), 0);
    t.equal(await sample('sallyport_upstream_connections{state="idle"}'), 1);
    t.equal(await sample('sallyport_upstream_connections_opened_total'), 1);
    t.equal(await sample('sallyport_upstream_seconds_count{provider="openai"}'), 1);
    t.equal(await sample('sallyport_upstream_first_byte_seconds_count{provider="openai"}'), 1);
    t.ok((await sample('sallyport_database_connections{state="idle"}')) > 0);
    t.ok((await sample('process_resident_memory_bytes')) > 1e7);
    t.ok((await sample('process_open_fds')) > 3);
    t.ok((await sample('sallyport_event_loop_delay_seconds_count')) > 0);
    t.ok((await sample('sallyport_journal_limit_bytes')) > 0);
    t.ok((await sample('sallyport_epoch_age_seconds')) < 60);
  });

  await t.test('count looks into the caches', async (t) => {
    const names = ['callers', 'data_keys', 'workspace_keys'];
    const looks = (result: string) =>
      Promise.all(
        names.map((cache) => sample(`sallyport_cache_lookups_total{cache="${cache}",result="${result}"}`)),
      );
    const before = await looks('hit');
    upstream.respond([{ body: { choices: [], usage: { prompt_tokens: 1, completion_tokens: 1 } } }]);
    t.equal((await chat({ model: 'gpt-4o', messages: [] })).status, 200);
    const [callers = 0, dataKeys = 0] = (await looks('hit')).map((count, i) => count - (before[i] ?? 0));
    t.same([callers, dataKeys], [1, 1], 'the second call finds the caller and his key opened');
    for (const count of await looks('miss')) t.ok(count > 0, 'the first one found nothing');
    t.equal(await sample('sallyport_cache_entries{cache="callers"}'), 1);
  });

  await t.test('say by its code why a request was refused, also before it was a call', async (t) => {
    const before = await sample(
      'sallyport_calls_total{provider="openai",operation="openai.chat",outcome="ok"}',
    );
    t.equal((await chat('{"model":')).status, 400);
    t.equal(await sample('sallyport_requests_refused_total{code="REQUEST_INVALID"}'), 1);
    t.equal(
      await sample('sallyport_calls_total{provider="openai",operation="openai.chat",outcome="ok"}'),
      before,
    );
  });

  await t.test('keep to their series whatever hostile clients send', async (t) => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
    const attack = async (round: number): Promise<number> => {
      const paths = [
        (n: number) => `/v1/chat/completions?evil${round}x${n}=1`,
        (n: number) => `/v1/evil${round}x${n}`,
        (n: number) => `/evil${round}x${n}/v1/chat/completions`,
        (n: number) => `/google/v1beta/models/evil${round}x${n}:evil${n}Content`,
        (n: number) => `/custom/evil${round}x${n}/v1/chat/completions`,
      ];
      const asks = Array.from({ length: 150 }, (_, n) =>
        ask(`${gateway.origin}${paths[n % paths.length]?.(n)}`, {
          agent,
          headers: { authorization: `Bearer ${gateway.token}` },
          body: { model: `evil${round}x${n}"}\n`, messages: [] },
        }),
      );
      await Promise.all(asks);
      await gateway.app.dataPlane.settled();
      const text = await gateway.metrics();
      t.notMatch(text, /evil/);
      return text.split('\n').length;
    };
    await attack(1);
    const once = await attack(2);
    t.equal(await attack(3), once, 'no series more than the attack before made');
    t.ok(once < 1500, `${once} lines`);
    agent.destroy();
  });

  await t.test('are those of the page, and Prometheus’s own checker takes them', async (t) => {
    const text = await gateway.metrics();
    const [tables = ''] = page('docs/metrics.md').split('## Worth an alert');
    const told = new Set(codeRows(tables).map(([name = '']) => codeWords(name)[0]));
    const served = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
    t.same(new Set(served), told);
    t.ok(isThere, 'promtool is here');
    const checked = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
    t.same([checked.status, checked.stdout, checked.stderr], [0, '', '']);
  });

  await t.test('come while the database takes questions and answers none', async (t) => {
    t.equal(await sample('sallyport_keys{status="active"}'), 1);
    isFrozen = true;
    // What Prometheus waits for by itself.
    const answer = await fetch(`${gateway.origin}/metrics`, { signal: AbortSignal.timeout(10_000) });
    const text = await answer.text();
    t.match(text, /^sallyport_keys{status="active"} 1$/m, 'what was last known of it stands');
    t.ok(Number(/^sallyport_epoch_age_seconds (\S+)$/m.exec(text)?.[1]) > 0.9, 'and it says how old that is');
    isFrozen = false;
    for (const socket of sockets) socket.destroy();
  });
});
