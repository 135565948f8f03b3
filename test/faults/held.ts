import { fork } from 'node:child_process';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { startGateway } from '../support/gateway.ts';
import type { Order, Word } from './held-peer.ts';

type Said<Name extends Word['said']> = Extract<Word, { said: Name }>;

const key = 'sk-test-held-0123456789abcdef';

const middle = (ms: readonly number[]): number => ms.toSorted((a, b) => a - b)[ms.length >> 1] ?? 0;

/** Streams that are all open at once while small calls go on, and then all end as they should. */
export async function holdStreams(t: Test, streams: number, calls: number): Promise<void> {
  const peer = fork(new URL('held-peer.ts', import.meta.url));
  t.teardown(() => peer.kill());
  async function hear<Name extends Word['said']>(said: Name): Promise<Said<Name>> {
    const [word] = (await once(peer, 'message')) as [Word];
    if (word.said !== said) throw new Error(`${word.said} in place of ${said}`);
    return word as Said<Name>;
  }
  function order<Name extends Word['said']>(what: Order, said: Name): Promise<Said<Name>> {
    peer.send(what);
    return hear(said);
  }

  const { origin: upstream } = await hear('listening');
  const gateway = await startGateway(t, {
    upstreams: { openai: upstream },
    settings: { LOG_LEVEL: 'warn', JOURNAL_SYNC: 'relaxed' },
  });
  await gateway.addKey('openai', key);
  const { body } = await gateway.api('POST', '/tokens', {
    name: 'held',
    requestsPerMinute: 1_000_000,
    concurrentCalls: streams + 1,
  });
  const to = { origin: gateway.origin, token: body.token as string };

  await order({ do: 'call', ...to, calls }, 'called');
  const alone = await order({ do: 'call', ...to, calls }, 'called');
  const memoryBefore = process.memoryUsage().rss;
  const opened = await order({ do: 'open', ...to, streams }, 'open');
  t.same(opened.refused.slice(0, 3), []);
  t.equal(gateway.app.dataPlane.gateway.callsInFlight(), streams);
  const perStream = (process.memoryUsage().rss - memoryBefore) / streams;
  const beside = await order({ do: 'call', ...to, calls }, 'called');
  t.same([...alone.refused, ...beside.refused].slice(0, 3), [], 'every small call is answered');
  t.equal(gateway.app.dataPlane.gateway.callsInFlight(), streams, 'and no stream was lost over it');
  const { whole } = await order({ do: 'finish' }, 'finished');
  t.equal(whole, streams, 'every stream ends whole');
  await gateway.shipped();
  t.equal(gateway.app.dataPlane.gateway.callsInFlight(), 0);
  const [p50, p50Beside] = [middle(alone.ms), middle(beside.ms)];
  t.comment(
    `${streams} streams: ${Math.round(perStream / 1024)} KiB each; a small call ${p50.toFixed(2)} ms, beside them ${p50Beside.toFixed(2)} ms`,
  );
}

if (import.meta.main) {
  const streams = Number(process.argv[2] ?? 5000);
  t.setTimeout(600_000);
  t.test(`${streams} streams held while small calls go on`, (t) => holdStreams(t, streams, 1000));
}
