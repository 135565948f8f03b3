import t from 'tap';
import { ResultsUrl } from '../../src/gateway/results-url.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream, type Answer } from '../support/upstream.ts';
import { anthropicClient } from './anthropic-sdk.ts';
import { gatewayTo, providerKeys } from './stand-in.ts';

/** Whom a client asks that is told a URL of the provider's: a stranger, who sees what he brings along. */
const stranger = await scriptUpstream(t);
const upstream = await scriptUpstream(t);
const gateway = await gatewayTo(t, upstream.origin);

/** As Anthropic writes one, whatever host it is called by. */
function batchOf(id: string): object {
  const results_url = `${stranger.origin}/v1/messages/batches/${id}/results`;
  return { id, type: 'message_batch', processing_status: 'ended', results_url, note: 'ü' };
}

t.test('@anthropic-ai/sdk: the results of a batch come through the gateway', async (t) => {
  const lines = [
    {
      custom_id: 'a',
      result: { type: 'succeeded', said: { results_url: 'https://x.example/v1/messages/batches/' } },
    },
    { custom_id: 'b', result: { type: 'expired' } },
  ];
  upstream.respond(({ path }): Answer => {
    if (!path.includes('/results')) return { body: batchOf('msgbatch_1') };
    const body = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
    return { headers: { 'content-type': 'application/x-jsonl' }, body };
  });
  const client = anthropicClient(gateway);
  for (const batches of [client.messages.batches, client.beta.messages.batches]) {
    const before = upstream.requests.length;
    const got: unknown[] = [];
    for await (const line of await batches.results('msgbatch_1')) got.push(line);
    t.same(got, lines, 'as the provider sent them');
    const seen = upstream.requests.slice(before);
    t.same(
      seen.map(({ path, headers }) => [path.replace('?beta=true', ''), headers['x-api-key']]),
      ['/v1/messages/batches/msgbatch_1', '/v1/messages/batches/msgbatch_1/results'].map((path) => [
        path,
        providerKeys.anthropic,
      ]),
    );
  }
  t.equal(stranger.requests.length, 0, 'the gateway’s token went to nobody else');
});

t.test('batches are told with the gateway’s own URL, and else byte for byte', async (t) => {
  const url = `${gateway.origin}/anthropic/v1/messages/batches`;
  const here = (text: string): string => text.replaceAll(stranger.origin, `${gateway.origin}/anthropic`);
  const page = { data: [batchOf('one'), { ...batchOf('two'), results_url: null }, batchOf('three')] };
  for (const [what, text] of [
    ['one', JSON.stringify(batchOf('one'))],
    ['a page', JSON.stringify(page)],
    ['with spaces', JSON.stringify(page, null, 2)],
  ] as const) {
    upstream.respond([{ headers: { 'content-type': 'application/json' }, body: text }]);
    const answer = await ask(url, { headers: { 'x-api-key': gateway.token, 'accept-encoding': 'gzip' } });
    t.equal(answer.body.toString(), here(text), what);
    t.ok(answer.isWhole);
    t.equal(upstream.requests.at(-1)?.headers['accept-encoding'], 'identity');
  }
  for (const [what, results_url] of [
    ['a path that is none of theirs', `${stranger.origin}/elsewhere`],
    ['another field', null],
  ] as const) {
    const text = JSON.stringify({
      ...batchOf('one'),
      results_url,
      url: `${stranger.origin}/v1/messages/batches/x`,
    });
    upstream.respond([{ headers: { 'content-type': 'application/json' }, body: text }]);
    const answer = await ask(url, { headers: { 'x-api-key': gateway.token } });
    t.equal(answer.body.toString(), text, what);
  }
});

t.test('a URL that comes in pieces is found wherever it is cut', async (t) => {
  const text = JSON.stringify({
    data: [batchOf('one'), batchOf('two')],
    last: '"results_url"',
    end: '"resul',
  });
  const expected = text.replaceAll(stranger.origin, 'https://here/anthropic');
  for (const size of [1, 2, 3, 7, 50]) {
    const finder = new ResultsUrl('https://here/anthropic');
    const out: Buffer[] = [];
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at += size) out.push(...finder.push(bytes.subarray(at, at + size)));
    out.push(...finder.end());
    t.equal(Buffer.concat(out).toString(), expected, `${size} bytes at a time`);
  }
  const endless = new ResultsUrl('https://here/anthropic');
  t.same(
    endless.push(Buffer.from(`"results_url":"${'x'.repeat(4096)}`)).length,
    1,
    'no more than a URL is held',
  );
});
