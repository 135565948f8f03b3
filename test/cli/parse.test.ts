import t from 'tap';
import { commands } from '../../src/cli/run.ts';
import { parse } from '../../src/cli/parse.ts';
import { commandText, overviewText } from '../../src/cli/usage-text.ts';
import { failureOf } from '../../src/cli/failure.ts';
import { mintToken } from '../../src/ids.ts';

function refusal(...argv: string[]) {
  try {
    parse(argv, commands);
  } catch (error) {
    return failureOf(error);
  }
  return null;
}

t.test('a command is found wherever its options stand', async (t) => {
  for (const argv of [
    ['keys', 'test', 'key_1', '--json'],
    ['--json', 'keys', 'test', 'key_1'],
    ['--url', 'http://localhost:1', 'keys', 'test', '--json', 'key_1'],
    ['keys', '--json', 'test', '--', 'key_1'],
  ]) {
    const parsed = parse(argv, commands);
    t.match(
      parsed,
      { kind: 'command', command: { words: 'keys test' }, argument: 'key_1', values: { json: true } },
      argv.join(' '),
    );
  }
});

t.test('wrong usage is exit 2 with the form that is right', async (t) => {
  const cases: [string[], RegExp][] = [
    [[], /command is missing/],
    [['keys'], /keys needs one of: keys add, keys list, keys replace, keys test, keys rm/],
    [['kyes', 'list'], /did you mean keys list\?/],
    [['srve'], /did you mean serve\?/],
    [['keys', 'test'], /ID is missing/],
    [['keys', 'test', 'a', 'b'], /argument too many/],
    [['keys', 'list', 'x'], /argument too many/],
    [['keys', 'add', '--provider', 'openai'], /--name NAME is missing/],
    [['keys', 'add', '--provider', '--name', 'x'], /--provider needs a value/],
    [['keys', 'list', '--json=1'], /--json takes no value/],
    [['keys', 'list', '--provider', 'a', '--provider', 'b'], /stands twice/],
    [['tokens', 'create', '--nmae', 'x'], /no option --nmae; did you mean --name\?/],
    [['keys', 'list', '--constructor'], /no option --constructor/],
    [['keys', 'add', '--provider', 'openai', '--name', 'x', '--value', 'abc'], /never an argument/],
  ];
  for (const [argv, message] of cases)
    t.match(refusal(...argv), { code: 'REQUEST_INVALID', exit: 2, message }, argv.join(' '));
});

t.test('what works on this machine alone takes no --url, instead of passing over it', async (t) => {
  const local = [
    'serve',
    'init',
    'migrate',
    'doctor',
    'healthcheck',
    'journal verify',
    'journal retire',
    'vault export',
    'vault import',
    'backup',
    'restore',
    'demo',
  ];
  for (const { words, argument, options } of commands) {
    const argv = [...words.split(' '), ...(argument === undefined ? [] : ['x'])];
    for (const [name, option] of Object.entries(options))
      if (option.isRequired === true) argv.push(`--${name}=x`);
    t.equal(refusal(...argv), null, words);
    if (local.includes(words)) {
      const message = `${words} works on this machine alone: it takes no --url.`;
      for (const url of [['--url', 'http://127.0.0.1:1'], ['--url=http://127.0.0.1:1'], ['--url']])
        t.match(refusal(...argv, ...url), { code: 'REQUEST_INVALID', exit: 2, message }, words);
    } else t.equal(refusal(...argv, '--url', 'http://127.0.0.1:1'), null, words);
    const command = commands.find((one) => one.words === words);
    t.equal(command !== undefined && commandText(command).includes('--url'), !local.includes(words), words);
  }
});

t.test('an argument that looks like a key or token is refused and not repeated', async (t) => {
  const secrets = [
    'sk-proj-0123456789abcdef',
    'sk-ant-api03-0123456789ab',
    'gsk_0123456789ab',
    'xai-0123456789ab',
    'AIzaSy0123456789abcdef',
    mintToken('spa').text,
  ];
  for (const secret of secrets) {
    for (const argv of [
      ['keys', 'add', '--provider', 'openai', '--name', 'main', secret],
      ['keys', 'add', '--provider', 'openai', `--name=${secret}`],
      ['keys', 'add', '--value', secret],
      ['tokens', 'revoke', secret],
      [secret],
    ]) {
      const failure = refusal(...argv);
      t.match(failure, { exit: 2, message: /looks like a key or token/ });
      t.notMatch(JSON.stringify(failure), secret.slice(8));
    }
  }
  t.equal(refusal('tokens', 'revoke', 'tok_0195b7c40c8a7e1f9d0123456789abcd'), null, 'an id is none');
});

t.test('help names every command and option, and the hidden ones to nobody', async (t) => {
  const overview = overviewText(commands);
  for (const command of commands) {
    t.match(overview, `  ${command.words}`);
    for (const argv of [
      [...command.words.split(' '), '--help'],
      ['help', ...command.words.split(' ')],
      ['-h', ...command.words.split(' ')],
    ]) {
      t.match(parse(argv, commands), { kind: 'help', command: { words: command.words } });
    }
    const text = commandText(command);
    for (const [name, { isHidden }] of Object.entries(command.options))
      t.equal(text.includes(`--${name}`), isHidden !== true);
  }
  t.match(parse(['--help'], commands), { kind: 'help', command: null });
  t.match(parse(['--version'], commands), { kind: 'version' });
});
