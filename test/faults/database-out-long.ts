import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { testDatabase } from '../support/database.ts';
import { ask } from '../support/http-client.ts';
import { installProduct } from '../support/product.ts';
import { databaseLine } from './database-line.ts';

/**
 * The long form of database-out.test.ts, on the real clock: two processes of the product on one database, a stream on each, the
 * database out of reach for most of it. `node test/faults/database-out-long.ts [--stream-minutes 15] [--out-minutes 10]`
 */
const { values } = parseArgs({
  options: {
    'stream-minutes': { type: 'string', default: '15' },
    'out-minutes': { type: 'string', default: '10' },
  },
});
const minute = 60_000;
const streamMs = Number(values['stream-minutes']) * minute;
const outMs = Number(values['out-minutes']) * minute;
const key = 'sk-test-outage-0123456789abcdef';
const say = (text: string): void => void process.stdout.write(`${new Date().toISOString()} ${text}\n`);

const ends: (() => unknown)[] = [];
const t = { teardown: (end: () => unknown) => void ends.push(end) };
const wrongs: string[] = [];
const expect = (isRight: boolean, what: string): void => {
  say(`${isRight ? 'ok' : 'WRONG'}: ${what}`);
  if (!isRight) wrongs.push(what);
};

try {
  const upstream = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const until = Date.now() + streamMs;
    const timer = setInterval(() => {
      if (Date.now() < until) {
        response.write('data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n');
        return;
      }
      clearInterval(timer);
      const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };
      response.end(`data: ${JSON.stringify({ choices: [], usage })}\n\ndata: [DONE]\n\n`);
    }, 1000);
    response.on('close', () => clearInterval(timer));
  }).listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  t.teardown(() => upstream.close());

  const database = await testDatabase(t);
  const lines = [databaseLine(t), databaseLine(t)] as const;
  const settings = {
    SALLYPORT_OPENAI_ORIGIN: `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`,
  };
  const urlOf = async (line: (typeof lines)[number]): Promise<string> => {
    const to = await line.connection(database.connection);
    return 'url' in to ? to.url : '';
  };
  const first = await installProduct(t, {
    settings: { ...settings, DATABASE_URL: await urlOf(lines[0]) },
  });
  await first.run(['init']);
  await first.run(['keys', 'add', '--provider', 'openai', '--name', 'main'], `${key}\n`);
  const { token } = await first.run('tokens create --name app'.split(' '));
  const keyring = readFileSync(path.join(first.dataDir, 'keyring.json'), 'utf8');
  const second = await installProduct(t, {
    settings: { ...settings, DATABASE_URL: await urlOf(lines[1]), SALLYPORT_KEYRING: keyring },
  });
  const nodes = [await first.serve(), await second.serve()];
  const startedAt = Date.now();
  const calls = nodes.map(({ origin }) =>
    ask(`${origin}/v1/chat/completions`, {
      headers: { 'x-api-key': token },
      body: { model: 'gpt-4o', stream: true, stream_options: { include_usage: true } },
    }),
  );
  say('a stream on each node');
  await pause(Math.min(minute, (streamMs - outMs) / 3));
  for (const line of lines) line.cut();
  say('the database is away');
  await pause(outMs);
  lines[0].mend();
  say('back for the first node');
  // To the first one the other is gone for as long as it takes it to beat.
  await pause(20_000);
  lines[1].mend();
  say('back for both');
  const answers = await Promise.all(calls);
  say(`the streams ended after ${Math.round((Date.now() - startedAt) / 1000)} s`);
  expect(
    answers.every(({ isWhole, status }) => isWhole && status === 200),
    'both came whole',
  );
  // Long enough for a presumption that should not be.
  await pause(6 * minute);
  const count = async (event: string): Promise<number> => {
    const rows = await database.store.asSystem((tx) =>
      tx.selectFrom('journal').select('seq').where('event', '=', event).execute(),
    );
    return rows.length;
  };
  expect((await count('use.begin')) === 2, 'two begins');
  expect((await count('use.end')) === 2, 'two ends');
  expect((await count('use.presumed')) === 0, 'nobody was buried alive');
  const rows = await database.store.asSystem((tx) => tx.selectFrom('usage_events').selectAll().execute());
  expect(
    rows.length === 2 && rows.every((row) => row.outcome === 'ok' && row.output_tokens === 2n),
    `${rows.length} usage rows, each of what was used`,
  );
  for (const product of [first, second]) {
    const verdict = await product.run(['journal', 'verify']);
    expect(verdict.ok === true, `journal verify: ${JSON.stringify(verdict).slice(0, 300)}`);
  }
} finally {
  for (const end of ends.toReversed()) await end();
}
process.exitCode = wrongs.length === 0 ? 0 : 1;
