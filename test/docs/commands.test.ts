import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { parse } from '../../src/cli/parse.ts';
import { commands } from '../../src/cli/run.ts';
import { settings } from '../../src/config.ts';
import { startGateway } from '../support/gateway.ts';
import { scriptUpstream } from '../support/upstream.ts';
import { blocks, codeWords, page, pages, root } from './pages.ts';

/** Lines of shell blocks and words of prose in which a program stands. */
function linesOf(text: string): readonly string[] {
  const shell = blocks(text).filter(({ language }) => language === 'sh');
  return [...shell.flatMap(({ code }) => code.replaceAll('\\\n', ' ').split('\n')), ...codeWords(text)];
}

/** Words of a shell line, without quotes. */
function words(line: string): string[] {
  return (line.match(/'[^']*'|\S+/g) ?? []).map((word) => word.replaceAll("'", ''));
}

t.test('every bin/sallyport command of a page is one that the program understands', async (t) => {
  let count = 0;
  for (const { name, text } of pages) {
    for (const line of linesOf(text)) {
      const call = /bin\/sallyport (.+?)(?:\s*[|;#].*|…)?$/.exec(line)?.[1];
      if (call === undefined) continue;
      count += 1;
      const argv = words(call);
      // Prose names a command without what it needs; a block has to be right as it stands.
      const isWhole = (line.startsWith('bin/') || line.includes('|')) && !line.includes('…');
      const isNamed = commands.some((command) => call.startsWith(command.words)) || argv[0] === '--help';
      t.ok(isNamed, `${name}: ${line}`);
      if (isWhole && argv.length > 2) t.doesNotThrow(() => parse(argv, commands), `${name}: ${line}`);
    }
  }
  t.ok(count > 20, `${count} commands were looked at`);
});

t.test('every npm script of a page exists', async (t) => {
  const { scripts } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  for (const { name, text } of pages) {
    for (const line of linesOf(text)) {
      for (const [, script = ''] of line.matchAll(/\bnpm run ([\w:]+)/g))
        t.ok(Object.hasOwn(scripts, script), `${name}: npm run ${script}`);
    }
  }
  t.match(page('README.md'), /^npm ci && npm start$/m);
  t.match(page('README.md'), /^npm ci && npm test$/m);
});

t.test('every setting that a page names is one', async (t) => {
  const known = new Set<string>(settings.map(({ name }) => name));
  for (const { name, text } of pages) {
    for (const [, setting = ''] of text.matchAll(/\b(SALLYPORT_[A-Z]+(?:_[A-Z]+)*)\b/g)) {
      // The token that an app of the reader's takes from its own environment.
      if (setting === 'SALLYPORT_TOKEN' || setting.startsWith('SALLYPORT_SERVICE_')) continue;
      t.ok(known.has(setting.replace(/_FILE$/, '')), `${name}: ${setting}`);
    }
    for (const word of codeWords(text)) {
      const setting = /^([A-Z]+(?:_[A-Z]+)+)=/.exec(word)?.[1];
      // Keys of an app's own environment, and what other programs read.
      if (setting === undefined || /_API_KEY$|^NAME_FILE$|^TEST_|^NODE_|^MALLOC_/.test(setting)) continue;
      t.ok(known.has(setting), `${name}: ${word}`);
    }
  }
});

/** Answers each dialect with a greeting, and refuses every credential but the stored key. */
async function greeter(t: Parameters<typeof scriptUpstream>[0], key: string) {
  return scriptUpstream(t, {
    key,
    script: ({ path: url }) => ({
      body: url.includes('/messages')
        ? {
            id: 'msg_1',
            type: 'message',
            role: 'assistant',
            model: 'm',
            content: [{ type: 'text', text: 'Hello from anthropic' }],
            stop_reason: 'end_turn',
            usage: { input_tokens: 3, output_tokens: 2 },
          }
        : url.includes('generateContent')
          ? { candidates: [{ content: { role: 'model', parts: [{ text: 'Hello from google' }] } }] }
          : {
              id: 'c_1',
              object: 'chat.completion',
              choices: [{ index: 0, message: { role: 'assistant', content: 'Hello from openai' } }],
            },
    }),
  });
}

t.test('the README’s snippets work as they are, but for address and token', async (t) => {
  const key = 'sk-ant-the-stored-key-0123456789';
  const upstream = await greeter(t, key);
  const gateway = await startGateway(t, {
    upstreams: { openai: upstream.origin, anthropic: upstream.origin, google: upstream.origin },
  });
  for (const provider of ['openai', 'anthropic', 'google']) await gateway.addKey(provider, key);

  const snippets = blocks(page('README.md')).filter(({ language }) => language === 'js');
  t.equal(snippets.length, 3);
  for (const { code } of snippets) {
    t.match(code, 'http://127.0.0.1:8080');
    const here = code.replaceAll('http://127.0.0.1:8080', gateway.origin);
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', here], {
      cwd: root,
      env: { SALLYPORT_TOKEN: gateway.token },
    });
    t.match(stdout, /^Hello from (?:openai|anthropic|google)\n$/);
  }
  t.equal(upstream.requests.length, 3);
});

t.test('SDKs find the gateway by the variables of docs/migrate-from-env.md', async (t) => {
  const key = 'sk-ant-the-stored-key-0123456789';
  const upstream = await greeter(t, key);
  const { origin } = upstream;
  const gateway = await startGateway(t, {
    upstreams: { openai: origin, anthropic: origin, google: origin, groq: origin },
  });
  for (const provider of ['openai', 'anthropic', 'google', 'groq']) await gateway.addKey(provider, key);

  const lines = blocks(page('docs/migrate-from-env.md')).flatMap(({ code }) => code.split('\n'));
  const env = Object.fromEntries(
    lines
      .map((line) => /^([A-Z_]+)=(.+)$/.exec(line))
      .filter((match) => match !== null)
      .map(([, name = '', value = '']) => [
        name,
        value.replace('spt_…', gateway.token).replace('http://127.0.0.1:8080', gateway.origin),
      ]),
  );
  t.equal(Object.keys(env).length, 8);
  const code = `
    const { default: OpenAI } = await import('openai');
    const { default: Anthropic } = await import('@anthropic-ai/sdk');
    const { GoogleGenAI } = await import('@google/genai');
    const { default: Groq } = await import('groq-sdk');
    const messages = [{ role: 'user', content: 'Say hello' }];
    const [a, b, c, d] = await Promise.all([
      new OpenAI().chat.completions.create({ model: 'gpt-4o-mini', messages }),
      new Anthropic().messages.create({ model: 'claude-sonnet-5-5', max_tokens: 9, messages }),
      new GoogleGenAI({}).models.generateContent({ model: 'gemini-2.5-flash', contents: 'Say hello' }),
      new Groq().chat.completions.create({ model: 'llama-3.3-70b-versatile', messages }),
    ]);
    console.log(a.choices[0].message.content, b.content[0].text, c.text, d.choices[0].message.content);`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', code], {
    cwd: root,
    env,
  });
  t.equal(stdout, 'Hello from openai Hello from anthropic Hello from google Hello from openai\n');
});
