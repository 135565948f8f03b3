import t, { type Test } from 'tap';
import { scriptUpstream } from '../support/upstream.ts';
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
