import t from 'tap';
import { openaiClient } from './openai-sdk.ts';
import { sdks } from './sdks.ts';
import { gatewayTo, startAimock } from './stand-in.ts';

t.test('unchanged SDKs talk to an independent stand-in through the gateway', async (t) => {
  const mock = await startAimock(t);
  mock.on({ userMessage: 'weather', hasToolResult: true }, { content: 'It is 7 degrees in Oslo.' });
  mock.on(
    { userMessage: 'weather' },
    { toolCalls: [{ name: 'get_weather', arguments: '{"city":"Oslo, the capital"}' }] },
  );
  mock.onMessage('hello', { content: 'Hello from the other side of the gateway.' });
  mock.onEmbedding(/.*/, { embedding: [0.25, -0.5, 0.75] });
  const gateway = await gatewayTo(t, mock.url);
  const { origin, token } = gateway;

  for (const sdk of sdks) {
    t.test(sdk.name, async (t) => {
      const session = sdk.connect({ origin, token });
      t.equal(await session.ask('hello'), 'Hello from the other side of the gateway.', 'an answer');

      const pieces: string[] = [];
      for await (const piece of session.stream('hello')) pieces.push(piece);
      t.equal(pieces.join(''), 'Hello from the other side of the gateway.', 'the same, streamed');
      t.ok(pieces.filter((piece) => piece !== '').length > 3, 'in pieces');

      const cities: string[] = [];
      const text = await session.useTool('weather', (city) => {
        cities.push(city);
        return '7 degrees';
      });
      t.same(cities, ['Oslo, the capital'], 'the tool was called');
      t.equal(text, 'It is 7 degrees in Oslo.', 'and its result was used');

      const deltas = await session.streamTool('weather');
      t.same(JSON.parse(deltas.join('')), { city: 'Oslo, the capital' }, 'a tool call, streamed');
      if (sdk.provider !== 'google') t.ok(deltas.length > 2, 'in pieces');

      if (session.embed !== undefined)
        t.same(await session.embed('hello'), [0.25, -0.5, 0.75], 'an embedding');
      // On /v1 the names say whose they are.
      if (session.models !== undefined)
        t.ok(
          (await session.models()).some((id) => /^(?:openai\/)?gpt-4o$/.test(id)),
          'the list of models',
        );
    });
  }

  t.test('the Responses API, whole and streamed', async (t) => {
    const client = openaiClient({ origin, token });
    const answer = await client.responses.create({ model: 'gpt-4o-mini', input: 'hello' });
    t.equal(answer.output_text, 'Hello from the other side of the gateway.');
    const stream = client.responses.stream({ model: 'gpt-4o-mini', input: 'hello' });
    t.equal((await stream.finalResponse()).output_text, 'Hello from the other side of the gateway.');
  });

  t.test('an SDK shows the gateway’s own id of the call, and the call is on record under it', async (t) => {
    const client = openaiClient({ origin, token });
    const messages = [{ role: 'user' as const, content: 'hello' }];
    const answer = await client.chat.completions.create({ model: 'gpt-4o-mini', messages });
    t.match(answer._request_id, /^call_[0-9a-f]{32}$/);
    await gateway.shipped();
    const call = await gateway.api('GET', `/usage/calls/${answer._request_id}`);
    t.match(call.body.attempts[0], {
      outcome: 'ok',
      model: 'gpt-4o-mini',
      usageSource: 'provider',
      inputTokens: answer.usage?.prompt_tokens,
      outputTokens: answer.usage?.completion_tokens,
    });
  });

  t.test('every call has ended well, and the stand-in never saw a gateway token', async (t) => {
    await gateway.shipped();
    const usage = await gateway.api('GET', '/usage?groupBy=provider');
    t.equal(usage.body.totals.failed, 0);
    t.same(usage.body.data.map((row: { group: string }) => row.group).toSorted(), [
      'anthropic',
      'google',
      'groq',
      'openai',
    ]);
    const seen = JSON.stringify(mock.getRequests());
    t.notMatch(seen, /spt_/);
    t.notOk(mock.getRequests().some((entry) => entry.response.status === 401));
  });

  t.test('that stand-in takes no gateway token, and no key that is not stored', async (t) => {
    for (const credential of [token, 'sk-proj-another'])
      for (const headers of [{ authorization: `Bearer ${credential}` }, { 'x-api-key': credential }]) {
        const response = await fetch(`${mock.url}/v1/models`, { headers });
        t.equal(response.status, 401);
        await response.arrayBuffer();
      }
  });
});
