import t from 'tap';
import { runCommand } from '../support/command.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const value = 'sk-test-token-update-0123456789';
const upstream = await scriptUpstream(t, { key: value, script: () => ({ body: { choices: [] } }) });
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
await gateway.addKey('openai', value);

t.test('a token is changed under the options that made it, and the app goes on with it', async (t) => {
  const created = await runCommand(
    gateway,
    ...'tokens create --name app --models gpt-4o,gpt-4o-mini --max-attempts 2 --tags a --json'.split(' '),
  );
  const made = JSON.parse(created.output);
  gateway.watch(made.token);
  const call = async (model: string) =>
    (
      await ask(`${gateway.origin}/v1/chat/completions`, {
        headers: { 'x-api-key': made.token },
        body: { model },
      })
    ).status;
  t.equal(await call('gpt-4o'), 200);

  const update = (...options: string[]) => runCommand(gateway, 'tokens', 'update', made.id, ...options);
  const { exit, output } = await update('--models', 'gpt-4o-mini', '--timeouts', 'total=1m', '--json');
  t.equal(exit, 0);
  t.match(JSON.parse(output), {
    id: made.id,
    name: 'app',
    models: ['gpt-4o-mini'],
    tags: ['a'],
    policy: { maxAttempts: 2, timeouts: { totalMs: 60_000 } },
  });
  t.notMatch(output, made.token);
  const narrowed = performance.now();
  while ((await call('gpt-4o')) !== 403) t.ok(performance.now() - narrowed < 10_000);
  t.equal(await call('gpt-4o-mini'), 200);

  const limited = await update('--requests-per-minute', '1', '--models', 'none', '--tags', 'none');
  t.match(limited.output, /^models +all$/m);
  t.match(limited.output, /^calls a minute +1$/m);
  t.match(limited.output, /^tags +–$/m);
  const statuses = new Set<number>();
  const at = performance.now();
  while (!statuses.has(429)) {
    statuses.add(await call('gpt-4o'));
    t.ok(performance.now() - at < 10_000);
  }
  t.match(
    await update('--no-retry-stale', '--expires', '2099-01-01T00:00:00Z', '--name', 'app 2', '--json'),
    {
      output: /"retryStale":false/,
    },
  );
  const back = JSON.parse((await update('--retry-stale', '--expires', 'none', '--json')).output);
  t.match(back, { name: 'app 2', expiresAt: null, policy: { retryStale: true, maxAttempts: 2 } });
  const falling = await update('--fallback-models', 'fast,groq/llama', '--json');
  t.match(JSON.parse(falling.output), { policy: { fallbackModels: ['fast', 'groq/llama'] } });
  const bare = JSON.parse((await update('--fallback-models', 'none', '--timeouts', 'none', '--json')).output);
  t.match(bare, { policy: { fallbackModels: [], maxAttempts: 2, timeouts: { totalMs: null } } });

  t.match(await update(), { exit: 2, error: /nothing to change/ });
  t.match(await update('--admin'), { exit: 2, error: /no option --admin/ });
  t.match(await update('--expires', '2020-01-01'), { exit: 2, error: /in the future/ });
  t.match(await runCommand(gateway, 'tokens', 'update', 'nonsense', '--name', 'x'), { exit: 3 });
});
