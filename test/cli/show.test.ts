import t from 'tap';
import { runCommand } from '../support/command.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const value = 'sk-test-show-0123456789abcdef';
const upstream = await scriptUpstream(t, {
  key: value,
  script: () => ({
    body: {
      model: 'gpt-4o',
      choices: [{ message: { content: 'hi' } }],
      usage: { prompt_tokens: 1000, completion_tokens: 10, total_tokens: 1010 },
    },
  }),
});
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });

async function run(line: string) {
  const argv = line.split(' ');
  const { exit, output, error } = await runCommand(gateway, ...argv);
  return {
    exit,
    output,
    error,
    json: argv.includes('--json') && output !== '' ? JSON.parse(output) : null,
  };
}

t.test('a key is shown and changed, never its value', async (t) => {
  const id = await gateway.addKey('openai', value, { description: 'for tests' });
  const shown = await run(`keys show ${id}`);
  t.match(shown, { exit: 0, output: new RegExp(`^id +${id}\nname +openai\ndescription +for tests\n`) });
  t.match(shown.output, /^ends +…cdef$/m);
  t.match(shown.output, /^shared with +nobody$/m);
  t.notMatch(shown.output, value);
  t.same((await run(`keys show ${id} --json`)).json, (await gateway.api('GET', `/api-keys/${id}`)).body);
  t.match(await run('keys show key_x'), { exit: 3 });

  const in3Days = new Date(Date.now() + 3 * 24 * 3600 * 1000).toISOString();
  const changed = await run(
    `keys update ${id} --name main --description none --weight 5 --expires ${in3Days} --rotate-after-days 0 --json`,
  );
  t.match(changed.json, {
    name: 'main',
    description: null,
    weight: 5,
    expiresAt: in3Days,
    rotateAfterDays: null,
    version: 1,
  });
  t.match(await run(`keys update ${id}`), { exit: 2, error: /nothing to change/ });
  t.match((await run('keys list --expiring-within 4 --json')).json.data, [{ id }]);
  t.match(await run('keys list --expiring-within 2'), { exit: 0, output: 'No such keys.\n' });
  t.match(await run('keys list --rotation-due'), { exit: 0, output: 'No such keys.\n' });
  t.match(await run(`keys update ${id} --expires none --json`), { json: { expiresAt: null, weight: 5 } });
});

t.test('a token is shown with what it may reach', async (t) => {
  const made = await run(
    'tokens create --name app --models gpt-4o --requests-per-minute 5 --timeouts total=10m --tags a,b --on-disconnect drain --json',
  );
  gateway.watch(made.json.token);
  const { output } = await run(`tokens show ${made.json.id}`);
  for (const line of [
    'models +gpt-4o',
    'providers +all',
    'calls a minute +5',
    'timeouts +total 600000 ms',
    'tags +a b',
    'when a client leaves +drain for 60 s, 10000000 bytes',
  ])
    t.match(output, new RegExp(`^${line}$`, 'm'));
  t.notMatch(output, made.json.token);
  const { body } = await gateway.api('GET', `/tokens/${made.json.id}`);
  t.same((await run(`tokens show ${made.json.id} --json`)).json, body);
  const { body: admin } = await gateway.api('POST', '/tokens', { name: 'ci', kind: 'admin' });
  t.notMatch((await run(`tokens show ${admin.id}`)).output, /calls a minute|models/);
});

t.test('calls are listed, filtered and shown with their receipts', async (t) => {
  const { body: token } = await gateway.api('POST', '/tokens', { name: 'caller', tags: ['team-a'] });
  const call = (model: string) =>
    ask(`${gateway.origin}/v1/chat/completions`, {
      headers: { 'x-api-key': token.token },
      body: { model },
    });
  const answer = await call('gpt-4o');
  t.equal(answer.status, 200);
  await gateway.shipped();
  const listed = await run(`usage calls --token ${token.id}`);
  t.match(listed.output, /^STARTED +CALL +TRY +TOKEN +KEY +MODEL +OUTCOME +INPUT +OUTPUT +COST +MS\n/);
  t.match(listed.output, new RegExp(`${token.id} +key_\\S+ +gpt-4o +ok +1,000 +10 +\\$0\\.0026 `));
  const [one] = (await run('usage calls --tag team-a --outcome ok --json')).json.data;
  const shown = await run(`usage call ${one.id}`);
  t.match(shown, { exit: 0, output: new RegExp(`^Receipt of 1: ${one.receipt}$`, 'm') });
  t.match((await run(`usage call ${one.id} --json`)).json, { id: one.id, attempts: [one] });
  t.match(await run('usage calls --user nobody'), { exit: 3 });
  t.match(await run('usage calls --outcome UPSTREAM_AUTH'), { exit: 0, output: 'No calls.\n' });
  t.match(await run('usage call nonsense'), { exit: 3, error: /usage calls/ });
  const of = async (filter: string) => (await run(`usage ${filter} --json`)).json.totals.calls;
  t.same([await of(`--token ${token.id}`), await of('--provider groq')], [1, 0]);
  t.same([await of('--model gpt-4o --user operator'), await of(`--key ${one.keyId}`)], [1, 1]);
});

t.test('the providers say where they are', async (t) => {
  t.match((await run('providers list')).output, /^openai +\/openai\/v1 +http\S+ /m);
  t.ok((await run('providers list --json')).json.data.length >= 6);
});
