import t from 'tap';
import { sdks } from './sdks.ts';
import { gatewayTo, startAimock } from './stand-in.ts';

const callsAtOnce = 50;

t.test('50 calls in parallel get each its own answer, streamed or not', async (t) => {
  const mock = await startAimock(t);
  mock.onMessage(/^say /, ({ messages }) => {
    const { content } = messages.at(-1)!;
    const text = typeof content === 'string' ? content : (content ?? []).map((part) => part.text).join('');
    return { content: `You said: ${text.slice(4)}.` };
  });
  const gateway = await gatewayTo(t, mock.url);

  for (const sdk of sdks) {
    t.test(sdk.name, async (t) => {
      const session = sdk.connect(gateway);
      const answers = await Promise.all(
        Array.from({ length: callsAtOnce }, async (_, n) => {
          if (n % 2 === 0) return session.ask(`say number ${n}`);
          let text = '';
          for await (const piece of session.stream(`say number ${n}`)) text += piece;
          return text;
        }),
      );
      t.same(
        answers,
        Array.from({ length: callsAtOnce }, (_, n) => `You said: number ${n}.`),
      );
    });
  }

  t.test('each is one record, and one request upstream', async (t) => {
    await gateway.shipped();
    const { data, totals } = (await gateway.api('GET', '/usage?groupBy=provider')).body;
    const all = sdks.length * callsAtOnce;
    t.match(totals, { calls: all, attempts: all, failed: 0 });
    for (const { group, unknownUsageCalls } of data) {
      // Groq tells its counts unasked, in a field of its own that this stand-in's streams don't have.
      t.equal(unknownUsageCalls, group === 'groq' ? callsAtOnce / 2 : 0, `usage of ${group}`);
    }
    t.equal(mock.getRequests().length, all);
    const calls = await gateway.api('GET', '/usage/calls?limit=200');
    const ids = calls.body.data.map((call: { id: string }) => call.id);
    t.equal(new Set(ids).size, ids.length);
  });
});
