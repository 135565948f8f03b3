import t, { type Test } from 'tap';
import { ask } from '../support/http-client.ts';
import { scriptUpstream, type Answer } from '../support/upstream.ts';
import { anthropicClient } from './anthropic-sdk.ts';
import { groqClient } from './groq-sdk.ts';
import { openaiClient } from './openai-sdk.ts';
import { gatewayTo, providerKeys } from './stand-in.ts';

const upstream = await scriptUpstream(t);
const gateway = await gatewayTo(t, upstream.origin);

t.test('models.retrieve finds a model whose name holds a slash', async (t) => {
  upstream.respond(({ path }) => ({ body: { id: path, object: 'model' } }));
  const at = async (
    t: Test,
    client: { models: { retrieve(id: string): Promise<unknown> } },
  ): Promise<void> => {
    await client.models.retrieve('openai/gpt-oss-20b');
    const { path, headers } = upstream.requests.at(-1) ?? {};
    t.equal(path, '/openai/v1/models/openai%2Fgpt-oss-20b', 'as it would be without the gateway');
    t.equal(headers?.authorization, `Bearer ${providerKeys.groq}`);
  };
  await at(t, groqClient(gateway));
  await at(t, openaiClient({ ...gateway, base: '/groq/openai/v1' }));
});

t.test('openai: a call over WebRTC says where it stands', async (t) => {
  const sdp = 'v=0\r\n';
  const headers = { 'content-type': 'application/sdp', location: '/v1/realtime/calls/rtc_u1-a' };
  upstream.respond([{ status: 201, headers, body: sdp }]);
  const locationAt = async (base: string): Promise<string | null> => {
    const answer = await openaiClient({ ...gateway, base }).realtime.calls.create({ sdp });
    t.equal(await answer.text(), sdp);
    return answer.headers.get('location');
  };
  t.equal(await locationAt('/v1'), '/v1/realtime/calls/rtc_u1-a');
  t.equal(await locationAt('/openai/v1'), '/openai/v1/realtime/calls/rtc_u1-a');

  const told = async (
    answer: Answer,
    path = '/v1/realtime/calls?model=gpt-realtime',
  ): Promise<string | null> => {
    upstream.respond([answer]);
    const init = {
      method: 'POST',
      headers: { authorization: `Bearer ${gateway.token}`, 'content-type': 'application/sdp' },
    };
    return (await ask(gateway.origin + path, { ...init, body: sdp })).header('location');
  };
  t.equal(
    await told({ status: 201, headers, body: sdp }),
    '/v1/realtime/calls/rtc_u1-a',
    'without the query',
  );
  const absolute = { ...headers, location: 'https://api.openai.com/v1/realtime/calls/rtc_2' };
  t.equal(await told({ status: 201, headers: absolute, body: sdp }), '/v1/realtime/calls/rtc_2');
  for (const status of [307, 400]) t.equal(await told({ status, headers, body: sdp }), null, `${status}`);
  for (const location of [
    'https://evil.example/',
    '/v1/realtime/calls/',
    '/v1/realtime/calls/a/b',
    '/v1/realtime/calls/a?b',
  ])
    t.equal(await told({ status: 201, headers: { ...headers, location }, body: sdp }), null, location);
  t.equal(await told({ status: 201, headers, body: sdp }, '/v1/realtime/calls/rtc_u1-a/hangup'), null);
});

t.test(
  '@anthropic-ai/sdk: workspace_id and user_profile_id reach the provider with the caller’s own key',
  async (t) => {
    upstream.respond([{ body: { id: 'msg_1', type: 'message', content: [] } }]);
    const client = anthropicClient(gateway);
    const asked = {
      model: 'claude-sonnet-5-5',
      max_tokens: 9,
      messages: [{ role: 'user' as const, content: 'hello' }],
      workspace_id: 'wrkspc_1',
      user_profile_id: 'up_1',
    };
    await client.messages.create(asked);
    const sent = (): unknown => {
      const { headers } = upstream.requests.at(-1) ?? {};
      return [headers?.['anthropic-workspace-id'], headers?.['anthropic-user-profile-id']];
    };
    t.same(sent(), ['wrkspc_1', 'up_1']);

    const { body: guest } = await gateway.api('POST', '/users', { name: 'guest' });
    const { body: made } = await gateway.api('POST', '/tokens', { name: 'guest', userId: guest.id });
    const { body: keys } = await gateway.api('GET', '/api-keys?provider=anthropic');
    await gateway.api('PATCH', `/api-keys/${keys.data[0].id}`, { sharedWith: 'workspace' });
    await anthropicClient({ ...gateway, token: made.token }).messages.create(asked);
    t.same(sent(), [undefined, undefined], 'a shared key’s owner says whom it pays for');
  },
);
