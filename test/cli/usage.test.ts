import t from 'tap';
import { runCommand } from '../support/command.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

t.test('a sum that lacks calls whose cost or tokens nobody knows says so', async (t) => {
  const value = 'sk-test-usage-0123456789abcdef';
  const usage = { prompt_tokens: 1000, completion_tokens: 10, total_tokens: 1010 };
  let isSilent = false;
  const upstream = await scriptUpstream(t, {
    key: value,
    script: () => ({
      body: {
        model: 'gpt-4o',
        choices: [{ message: { content: 'hi' } }],
        ...(isSilent ? {} : { usage }),
      },
    }),
  });
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
  await gateway.addKey('openai', value);
  const call = async (): Promise<void> => {
    const { status } = await ask(`${gateway.origin}/v1/chat/completions`, {
      headers: { 'x-api-key': gateway.token },
      body: { model: 'gpt-4o' },
    });
    t.equal(status, 200);
    await gateway.shipped();
  };
  const total = async (): Promise<string> =>
    /^total.*/m.exec((await runCommand(gateway, 'usage')).output)?.[0] ?? '';

  await call();
  t.match(await total(), /^total +1 +0 +1,000 +10 +\$0\.0026$/);
  t.notMatch((await runCommand(gateway, 'usage')).output, /not known/);

  isSilent = true;
  await call();
  t.match(await total(), /^total +2 +0 +1,000 +10 +\$0\.0026 and 1 call unknown$/);
  t.match((await runCommand(gateway, 'usage')).output, /\nThe tokens of 1 call are not known/);
});
