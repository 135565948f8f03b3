import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { freePort } from '../../bench/free-port.ts';
import { parse } from '../../src/cli/parse.ts';
import { commands } from '../../src/cli/run.ts';
import { ask } from '../support/http-client.ts';
import { installProduct } from '../support/product.ts';
import { scriptUpstream } from '../support/upstream.ts';
import { blocks, page } from './pages.ts';

t.setTimeout(300_000);

/** What takes root, systemd, a network or a shell of one's own; read by people alone. */
const byHand = /^(?:cd|runuser|install -d|systemctl|git|npm|export SALLYPORT_URL=)\b/;

/** Words of a shell line, without quotes. */
const wordsOf = (line: string) => (line.match(/'[^']*'|\S+/g) ?? []).map((word) => word.replaceAll("'", ''));

const lines = blocks(page('docs/day-two.md'))
  .filter(({ language }) => language === 'sh')
  .flatMap(({ code }) => code.trimEnd().split('\n'));

t.test('the whole page, typed into a gateway from its first line to its last', async (t) => {
  const key = 'sk-test-day-two-0123456789abcdef0123456789abcdef0123456789';
  const upstream = await scriptUpstream(t, {
    key,
    script: ({ path: url }) => ({
      body: url.endsWith('/models')
        ? { data: [] }
        : { choices: [], usage: { prompt_tokens: 3, completion_tokens: 2 } },
    }),
  });
  const product = await installProduct(t, { settings: { SALLYPORT_OPENAI_ORIGIN: upstream.origin } });
  const serving = await product.serve();
  const folder = mkdtempSync(path.join(tmpdir(), 'sallyport-day-two-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  // Run by root, the embedded database is another user, who has to get through here.
  chmodSync(folder, 0o711);
  mkdirSync(path.join(folder, 'safe'));
  copyFileSync(path.join(product.dataDir, 'keyring.json'), path.join(folder, 'safe', 'keyring.json'));
  const here = (line: string) =>
    line
      .replaceAll('/var/lib/sallyport', product.dataDir)
      .replaceAll('/srv/', `${folder}/`)
      .replaceAll('/media/', `${folder}/`);

  const ids = { key: '', token: '', call: '', receipt: '' };
  /** The thing that the page has spoken of last. */
  const named = (argv: readonly string[]) => {
    const [first = '', second = ''] = argv;
    const id = first === 'keys' ? ids.key : first === 'usage' && second === 'call' ? ids.call : ids.token;
    return argv.map((word) => (word === 'ID' ? id : word === 'RECEIPT' ? ids.receipt : word));
  };
  const inputOf = (argv: readonly string[]) =>
    argv[0] === 'keys' && (argv[1] === 'add' || argv[1] === 'replace') ? `${key}\n` : '';

  let settings: Record<string, string> = {};
  let token = '';
  let typed = 0;
  for (const line of lines) {
    if (byHand.test(line)) continue;
    const [program = '', ...argv] = wordsOf(here(line));
    if (program === 'export') {
      const [name = '', value = ''] = (argv[0] ?? '').split('=');
      // Another machine, whose port nobody has.
      settings = { [name]: value, PORT: String(await freePort()) };
      continue;
    }
    const [from = '', to = ''] = /^install -m 600 (\S+) (\S+)$/.exec(here(line))?.slice(1) ?? [];
    if (from !== '') {
      copyFileSync(from, to);
      chmodSync(to, 0o600);
      continue;
    }
    t.equal(program, 'bin/sallyport', line);
    if (argv[0] === 'audit' && argv[1] === 'export') {
      // It is no document, which is what the harness reads.
      t.doesNotThrow(() => parse(argv, commands), line);
      continue;
    }
    if (argv[0] === 'usage' && ids.call === '') await call();
    const answer = await product.run(named(argv), inputOf(argv), settings).catch((error: Error) => {
      // The record was found: the next checkpoint that will cover it is a minute away.
      if (argv[1] === 'proof' && error.message.includes('"CHECKPOINT_PENDING"')) return {};
      throw error;
    });
    typed += 1;
    t.pass(line);
    if (line.includes('keys add')) ids.key = answer.id;
    if (line.includes('tokens create')) [ids.token, token] = [answer.id, answer.token];
    if (line.includes('members set')) t.equal(answer.role, 'admin');
    if (line.includes('expiring-within') || line.includes('rotation-due')) t.same(answer.data, []);
    if (line.includes('requests-per-minute 120')) t.match(answer, { requestsPerMinute: 120 });
    if (line.includes('keys list') && settings['PORT'] !== undefined) t.match(answer.data, [{ id: ids.key }]);
  }
  t.ok(typed > 35, `${typed} commands were typed`);

  async function call(): Promise<void> {
    const answer = await ask(`${serving.origin}/v1/chat/completions`, {
      headers: { 'x-api-key': token },
      body: { model: 'gpt-4o-mini' },
    });
    t.equal(answer.status, 200, answer.body.toString());
    const header = (name: string) => answer.headers.find(([one]) => one === name)?.[1] ?? '';
    [ids.call, ids.receipt] = [header('x-request-id'), header('x-sallyport-receipt')];
    // Usage is some moments behind; there is no event for it in another process.
    let calls: unknown[] = [];
    while (calls.length === 0) calls = (await product.run(['usage', 'calls'])).data;
  }

  t.equal(readdirSync(path.join(folder, 'backups')).filter((name) => name.startsWith('backup-')).length, 1);
  t.ok(existsSync(path.join(folder, 'drill', 'postgres')));
  serving.signal('SIGTERM');
  t.equal(await serving.ended, 0);
});
