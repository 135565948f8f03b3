import { PassThrough } from 'node:stream';
import t from 'tap';
import type { CliDeps } from '../../src/cli/deps.ts';
import { commands, runCli } from '../../src/cli/run.ts';
import { readConfig } from '../../src/config.ts';
import { runCommand } from '../support/command.ts';
import { startGateway } from '../support/gateway.ts';
import { newSeal } from '../support/seal.ts';
import { said } from '../support/said.ts';

t.setTimeout(60_000);

const gateway = await startGateway(t);
const value = 'sk-test-confirm-0123456789abcdef';

/** A command at a terminal, where `keys` are typed when it asks. */
async function atTerminal(line: string, keys: string, deps: Partial<CliDeps> = {}) {
  const input = Object.assign(new PassThrough(), {
    isTTY: true,
    modes: [] as boolean[],
    setRawMode: (mode: boolean) => void input.modes.push(mode),
  });
  const [output, error] = [new PassThrough(), new PassThrough()];
  let shown = '';
  let isAnswered = false;
  error.on('data', (chunk: Buffer) => {
    shown += String(chunk);
    if (isAnswered || !shown.includes('(yes or no) ')) return;
    isAnswered = true;
    input.write(keys);
  });
  const exit = await runCli({
    argv: line.split(' '),
    terminal: { input, output, error },
    version: 'test',
    readConfig: () =>
      readConfig({
        DATA_DIR: '/nonexistent',
        SALLYPORT_URL: gateway.origin,
        SALLYPORT_ADMIN_TOKEN: gateway.adminToken,
      }),
    loadDeps: () => Promise.resolve(deps as CliDeps),
  });
  return { exit, shown, isAsked: isAnswered, modes: input.modes, output: said(output) };
}

const statusOf = async (path: string) => (await gateway.api('GET', path)).status;

t.test('at a terminal a key is deleted only by whoever says yes, who is told what goes', async (t) => {
  const id = await gateway.addKey('openai', value, { name: 'main' });
  for (const keys of ['\r', 'no\r', 'yess\r', 'y\u0003', '\u0004', `${'y'.repeat(40)}\r`]) {
    const kept = await atTerminal(`keys rm ${id}`, keys);
    t.match(kept, { exit: 2, output: '', isAsked: true, modes: [true, false] }, JSON.stringify(keys));
    t.match(kept.shown, /This deletes the key “main” \(openai, …cdef\) for good.*never\.\nGo on\?/);
    t.match(kept.shown, /Nothing was done\./);
    t.notMatch(kept.shown, value);
  }
  t.equal(await statusOf(`/api-keys/${id}`), 200);
  const json = await atTerminal(`keys rm ${id} --json`, 'n\r');
  t.match(json.shown, /{"code":"REQUEST_INVALID","message":"Nothing was done\."/);

  const gone = await atTerminal(`keys rm ${id} --json`, 'x\u007fY\r');
  t.match(gone, { exit: 0, isAsked: true });
  t.ok(gone.shown.endsWith('(yes or no) x\b \bY\n'), 'what is typed is shown, and mended');
  t.match(JSON.parse(gone.output), { id, deleted: true });
  t.equal(await statusOf(`/api-keys/${id}`), 404);
  const again = await atTerminal(`keys rm ${id}`, 'yes\r');
  t.match(again, { exit: 3, isAsked: false });
});

t.test('--yes asks nothing, and where there is no terminal nothing is asked either', async (t) => {
  const first = await gateway.addKey('openai', value);
  t.match(await atTerminal(`keys rm ${first} --yes`, 'no\r'), { exit: 0, isAsked: false, modes: [] });
  const second = await gateway.addKey('openai', value);
  const script = await runCommand(gateway, 'keys', 'rm', second);
  t.match(script, { exit: 0, output: /^Deleted\. Receipt: /, error: '' });
});

t.test('each command that takes something away names it', async (t) => {
  const { body: ann } = await gateway.api('POST', '/users', { name: 'ann\u2028', externalId: 'a-1' });
  await gateway.addKey('openai', value, { userId: ann.id });
  await gateway.api('POST', '/tokens', { name: 'hers', userId: ann.id });
  const { body: token } = await gateway.api('POST', '/tokens', { name: 'app' });
  const { publicKey } = newSeal();
  const { body: seal } = await gateway.api('POST', '/seals', { name: 'laptop', publicKey });
  const { body: alias } = await gateway.api('POST', '/aliases', { alias: 'fast', target: 'openai/gpt-4o' });
  const prices = { provider: 'openai', model: 'gpt-4o', prices: { input: '1' } };
  const { body: price } = await gateway.api('POST', '/prices', prices);
  const { body: hook } = await gateway.api('POST', '/webhooks', { url: 'https://hooks.example.com/x' });
  gateway.watch(hook.secret);
  const { body: ring } = await gateway.api('GET', '/keyring');
  const cases: [string, RegExp][] = [
    [`tokens revoke ${token.id}`, /revokes the token “app” \(spt_\w{12}…\) for good/],
    ['members rm a-1', /takes the role member from “ann·”/],
    ['users erase a-1', /erases the user “ann·” \(a-1\).* 1 keys .* 1 tokens/],
    [`seals rm ${seal.id}`, /deletes the seal “laptop”/],
    [`aliases rm ${alias.id}`, /the name “fast” \(openai\/gpt-4o\)/],
    [`prices rm ${price.id}`, /the price of openai gpt-4o \(input=1\)/],
    [
      `webhooks rm ${hook.id}`,
      /the webhook https:\/\/hooks\.example\.com\/x .*, with its secret and 0 messages/,
    ],
    [`keyring retire ${ring.activeRootKey}`, /deletes the root key \S+ \(active, .*backups under it/],
  ];
  for (const [line, lost] of cases) {
    const kept = await atTerminal(line, 'n\r');
    t.match(kept, { exit: 2, isAsked: true }, line);
    t.match(kept.shown, lost);
  }
  t.equal(await statusOf(`/users/${ann.id}`), 200);
  for (const [line] of cases) {
    const done = await atTerminal(line, 'y\r');
    // A root key that is in use stays, whatever is said.
    t.match(done, { exit: line.startsWith('keyring') ? 1 : 0, isAsked: true }, `${line}: ${done.shown}`);
  }
  t.equal(await statusOf(`/users/${ann.id}`), 404);
  t.match(await atTerminal(`tokens revoke ${token.id}`, 'n\r'), { exit: 0, isAsked: false }, 'it is already');
  await gateway.shipped();
  t.match(await atTerminal(`users erase ${ann.id}`, 'n\r'), { exit: 0, isAsked: false }, 'he is already');
  t.match(await atTerminal(`aliases rm ${alias.id}`, 'n\r'), { exit: 3, isAsked: false });

  const asked: boolean[] = [];
  const deps: Partial<CliDeps> = {
    retireJournal: ({ isDryRun }) => {
      asked.push(isDryRun);
      return Promise.resolve([
        { month: '2025-01-01', records: 48_211, outcome: isDryRun ? 'due' : 'retired' },
      ]);
    },
  };
  const kept = await atTerminal('journal retire', 'n\r', deps);
  t.match(kept.shown, /drops for good, with their usage rows: 2025-01 \(48,211 records\)\./);
  t.match(await atTerminal('journal retire', 'y\r', deps), { exit: 0 });
  t.match(await atTerminal('journal retire --dry-run', 'y\r', deps), { exit: 0, isAsked: false });
  t.same(asked, [true, true, false, true]);

  const without = commands
    .filter(({ words }) => / (?:rm|erase|revoke|retire)$/.test(words))
    .filter(({ options }) => options['yes'] === undefined);
  t.same(without, [], 'and no such command was forgotten');
  t.equal(commands.filter(({ options }) => options['yes'] !== undefined).length, cases.length + 2);
});
