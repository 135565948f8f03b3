import t from 'tap';
import { createAsker } from '../../src/cli/demo/ask.ts';
import {
  byteToChange,
  judgeCredentials,
  judgeMetrics,
  judgeSpread,
  judgeUsage,
} from '../../src/cli/demo/evidence.ts';
import { startStandIn } from '../../src/cli/demo/stand-in.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

t.test('the stand-in serves the official client for its one key, and keeps the bill', async (t) => {
  const standIn = await startStandIn('sk-right');
  t.teardown(() => standIn.close());
  const never = new AbortController().signal;
  const asker = await createAsker(standIn.origin, 'sk-right');
  const streamed = await asker.stream(() => {}, never);
  t.equal(streamed.text, await asker.whole(never), 'streamed and whole are the same text');
  t.match(judgeSpread(streamed.arrivals, standIn.stream), { ok: true });
  t.match(judgeCredentials(standIn.credentials, 'sk-right', standIn.hasSeen('spt_1')), { ok: true });
  t.match(standIn.bill, { calls: 2 });
  t.ok(standIn.bill.outputTokens > 50 && standIn.bill.cachedInputTokens > 0);

  const stranger = await createAsker(standIn.origin, 'spt_1');
  await t.rejects(stranger.whole(never), { status: 401, code: 'invalid_api_key' });
  t.equal(standIn.bill.calls, 2, 'a refused call is not billed');
  t.match(judgeCredentials(standIn.credentials, 'sk-right', standIn.hasSeen('spt_1')), {
    ok: false,
    detail: /token reached/,
  });
  t.match(judgeCredentials(standIn.credentials, 'sk-right', false), { ok: false });
});

t.test('an answer that came at once, at its end, is no stream', async (t) => {
  const sent = { spanMs: 1000, lastAt: 5000 };
  const times = (from: number, step: number) => Array.from({ length: 30 }, (_, i) => from + i * step);
  t.equal(judgeSpread(times(4010, 33), sent).ok, true);
  t.equal(judgeSpread(times(5001, 0.1), sent).ok, false, 'held back to the end');
  t.equal(judgeSpread(times(5001, 33), sent).ok, false, 'held back, then replayed slowly');
  t.equal(judgeSpread([], sent).ok, false);
});

t.test('books that differ in one number are not equal', async (t) => {
  const bill = { calls: 4, inputTokens: 40, cachedInputTokens: 10, outputTokens: 80 };
  t.equal(judgeUsage({ ...bill, failed: 0 }, bill).ok, true);
  for (const name of Object.keys(bill)) {
    t.match(judgeUsage({ ...bill, [name]: 39 }, bill), { ok: false, detail: new RegExp(name) });
    t.equal(judgeUsage({ ...bill, [name]: null }, bill).ok, false);
  }
});

t.test('the metrics are read as Prometheus would read them', async (t) => {
  const metrics = createMetrics({ version: '1', node: '26' });
  const usage = {
    inputTokens: 20,
    cachedInputTokens: 5,
    cacheWriteInputTokens: 0,
    outputTokens: 40,
    reasoningTokens: 0,
  };
  for (const model of ['gpt-4o-mini', 'o3']) {
    metrics.callEnded({
      provider: 'openai',
      operation: 'openai.chat',
      outcome: 'ok',
      model,
      seconds: 1,
      firstChunkSeconds: null,
      overheadSeconds: null,
      usage,
      isUsageUnknown: false,
      costNanoUsd: null,
    });
  }
  const bill = { calls: 2, inputTokens: 40, cachedInputTokens: 10, outputTokens: 80 };
  t.match(judgeMetrics(await metrics.text(), bill), { ok: true });
  t.equal(judgeMetrics(await metrics.text(), { ...bill, calls: 3 }).ok, false);
  t.equal(judgeMetrics('', bill).ok, false);
});

t.test('the byte to change is a digit of the last record of a use', async (t) => {
  const file = Buffer.from(
    '{"event":"use.end","seq":1}\n{"event":"use.end","ms":57,"seq":2}\n{"event":"stream.close","seq":3}\n',
  );
  const at = byteToChange(file) ?? 0;
  t.equal(file.toString().slice(at - 5, at + 2), '"ms":57');
  t.equal(byteToChange(Buffer.from('{"event":"key.create.done"}\n')), null);
});
