import { PassThrough, Readable } from 'node:stream';
import { AzureOpenAI, OpenAI } from 'openai';
import t, { type Test } from 'tap';
import type { CliDeps } from '../../src/cli/deps.ts';
import { runCli } from '../../src/cli/run.ts';
import { readConfig } from '../../src/config.ts';
import { type Recording, recordingsOf } from '../golden/recordings.ts';
import { connectProxy } from '../support/connect-proxy.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { recipesCa } from '../support/tls-files.ts';
import { scriptUpstream, type SeenRequest } from '../support/upstream.ts';
import { blocks, page } from './pages.ts';
import { said } from '../support/said.ts';

const text = page('docs/providers.md');
/** Sections with a line that stores a key: title, name of the key, words of the line. */
const recipes = text.split(/^## /m).flatMap((section) => {
  const line = blocks(section)
    .find(({ language }) => language === 'sh')
    ?.code.trim();
  if (line === undefined) return [];
  const argv = line.split(' ').slice(1);
  const option = (name: string): string | undefined => argv[argv.indexOf(`--${name}`) + 1];
  return [
    {
      title: section.slice(0, section.indexOf('\n')),
      section,
      line,
      argv,
      name: option('name') ?? '',
      origin: option('origin') ?? '',
      basePath: argv.includes('--base-path') ? option('base-path') : '/v1',
      auth: argv.includes('--auth') ? (option('auth') ?? '') : 'bearer',
    },
  ];
});

const recordings = recordingsOf('custom');
const recordingOf = (name: string, start: string): Recording => {
  const found = recordings.find(({ file }) => file.startsWith(`${name}/${start}`));
  if (found === undefined) throw new Error(`no ${start} of ${name} is recorded`);
  return found;
};

/** Runs a line of the page as the operator would, on the gateway's own host. */
async function runLine(gateway: TestGateway, argv: readonly string[], key: string) {
  const output = new PassThrough();
  const { operator } = gateway.app;
  const exit = await runCli({
    argv: [...argv, '--json'],
    terminal: { input: Readable.from([Buffer.from(`${key}\n`)]), output, error: output },
    version: 'test',
    readConfig: () => readConfig({ DATA_DIR: '/nonexistent' }),
    loadDeps: async () =>
      ({
        openOffline: async () => ({
          request: (method: string, path: string, body: Buffer | null, headers?: Record<string, string>) =>
            operator.inject(method, path, body, headers),
          close: async () => {},
        }),
      }) as unknown as CliDeps,
  });
  return { exit, told: JSON.parse(said(output)) as { id: string; provider: string } };
}

/** Plays one provider: its key in its header, nothing else, and its recorded answers. */
function play(name: string, header: string, value: string | null) {
  const sse = { 'content-type': 'text/event-stream' };
  return ({ headers, body }: SeenRequest) => {
    const told = ['authorization', 'api-key', 'x-api-key'].filter((one) => headers[one] !== undefined);
    if (value === null ? told.length > 0 : told.join() !== header || headers[header] !== value)
      return {
        status: 401,
        body: { error: { message: `wrong key: ${told.map((one) => String(headers[one])).join()}` } },
      };
    const asked = JSON.parse(body.toString()) as { model: string; stream?: boolean };
    if (asked.model === 'none') {
      const error = recordingOf(name, 'error');
      return { status: error.status, body: error.bytes, headers: { 'content-type': 'application/json' } };
    }
    const answer = recordingOf(name, asked.stream === true ? 'chat-stream' : 'chat.json');
    return {
      body: answer.bytes,
      headers: asked.stream === true ? sse : { 'content-type': 'application/json' },
    };
  };
}

const messages = [{ role: 'user' as const, content: 'Say hello' }];

t.test('each recipe is on the page once, with the pages that it was written after', async (t) => {
  t.same(
    recipes.map(({ name }) => name),
    ['azure', 'openrouter', 'mistral', 'deepseek', 'together', 'cohere', 'vllm', 'ollama'],
  );
  for (const { section, line, title } of recipes) {
    t.match(
      line,
      /^bin\/sallyport keys add --provider custom --name [a-z]+ --origin https?:\/\/[^ /]+/,
      title,
    );
    t.match(section, /^Sources: [a-z.-]+\//m, title);
    t.match(section, /^- Metered: /m, title);
  }
});

t.test(
  'each recipe stores a key, and calls go where the page says, with that key, and are metered',
  async (t) => {
    // The public names lead to stand-ins as they would through a company's proxy: the lines run as they are.
    const routes = new Map<string, number>();
    const proxy = await connectProxy(t, { routes });
    const gateway = await startGateway(t, { ca: recipesCa, settings: { EGRESS_PROXY: proxy.url } });
    for (const recipe of recipes) {
      t.test(recipe.title, async (t) => {
        const { name, auth, basePath, argv, origin } = recipe;
        const key = `${name}-key-0123456789abcdef`;
        const header = auth.startsWith('header:') ? auth.slice('header:'.length) : 'authorization';
        const sent = auth === 'none' ? null : auth === 'bearer' ? `Bearer ${key}` : key;
        const isPublic = origin.startsWith('https:');
        const script = play(name, header, sent);
        const upstream = await scriptUpstream(t, { script, tls: isPublic ? 'recipes' : false });
        if (isPublic) routes.set(`${new URL(origin).hostname}:443`, upstream.port);
        const here = isPublic ? argv : argv.map((word) => (word === origin ? upstream.origin : word));
        const { exit, told } = await runLine(gateway, here, key);
        t.equal(exit, 0, JSON.stringify(told));
        t.equal(told.provider, 'custom');
        if (sent !== null) gateway.watch(key);

        const whole = recordingOf(name, 'chat.json');
        const streamed = recordingOf(name, 'chat-stream');
        const refused = recordingOf(name, 'error');
        const { model } = whole;
        const client = new OpenAI({ apiKey: gateway.token, baseURL: `${gateway.origin}/v1`, maxRetries: 0 });
        const path = `${basePath}/chat/completions`;

        const first = await client.chat.completions.create({ model: `${name}/${model}`, messages });
        t.match(first.choices[0]?.message.content, /^Hello from /);
        await metered(t, first._request_id, whole);

        // The whole of what the page promises of /custom/NAME: bytes there and back.
        const ask = JSON.stringify({
          model,
          messages,
          stream: true,
        });
        const raw = await fetch(`${gateway.origin}/custom/${name}${path}`, {
          method: 'POST',
          headers: { authorization: `Bearer ${gateway.token}`, 'content-type': 'application/json' },
          body: ask,
        });
        const asks = argv.includes('--stream-usage');
        const text = streamed.bytes.toString();
        const seen = asks ? text.replace(/data: \{[^\n]*"choices":\[\],"usage":\{[^\n]*\}\n\n/, '') : text;
        t.equal(seen === text, !asks, 'an event is for the gateway alone where it has asked for it');
        t.equal(await raw.text(), seen, 'the stream, as it came');
        await metered(t, raw.headers.get('x-request-id'), streamed);

        const error = await client.chat.completions
          .create({ model: `${name}/none`, messages })
          .catch((reason: unknown) => reason as InstanceType<typeof OpenAI.APIError>);
        t.equal((error as { status?: number }).status, refused.status, 'its own refusal');

        t.same(
          upstream.requests.map(({ method, path }) => `${method} ${path}`),
          [`POST ${path}`, `POST ${path}`, `POST ${path}`],
        );
        t.match(
          upstream.requests[0]?.body.toString(),
          `"model":"${model}"`,
          'without the key’s name before it',
        );
        const option = '"stream_options":{"include_usage":true},';
        t.equal(upstream.requests[1]?.body.toString(), asks ? ask.replace('{', `{${option}`) : ask);
        for (const { headers } of upstream.requests) t.equal(headers[header], sent ?? undefined);

        if (sent === null) return;
        upstream.respond([{ status: 401, body: { error: { message: `Unknown key ${key}` } } }]);
        const wrong = await fetch(`${gateway.origin}/custom/${name}${path}`, {
          method: 'POST',
          headers: { authorization: `Bearer ${gateway.token}`, 'content-type': 'application/json' },
          body: ask,
        });
        t.equal(wrong.status, 502, 'its 401 is not the client’s');
        const body = await wrong.text();
        t.match(body, 'UPSTREAM_AUTH');
        t.notMatch(body, key);
      });
    }

    async function metered(t: Test, id: string | null | undefined, { usage, file }: Recording) {
      await gateway.shipped();
      const call = await gateway.api('GET', `/usage/calls/${id}`);
      t.match(
        call.body.attempts[0],
        { provider: 'custom', operation: 'openai.chat', outcome: 'ok', usageSource: 'provider', ...usage },
        file,
      );
    }

    t.test('Azure’s own client finds its versioned paths, and the query goes along', async (t) => {
      const key = 'azure-key-0123456789abcdef';
      const upstream = await scriptUpstream(t, play('azure', 'api-key', key));
      const line = recipes.find(({ name }) => name === 'azure');
      const argv = line?.argv.map((word) =>
        word === line.origin ? upstream.origin : word === 'azure' ? 'azure-b' : word,
      );
      t.equal((await runLine(gateway, argv ?? [], key)).exit, 0);
      const options = /new AzureOpenAI\((\{.+?\})\)/.exec(text)?.[1] ?? '';
      for (const [, word = ''] of options.matchAll(/(\w+): /g))
        t.ok(['endpoint', 'apiKey', 'apiVersion', 'deployment'].includes(word), word);
      const client = new AzureOpenAI({
        endpoint: `${gateway.origin}/custom/azure-b`,
        apiKey: gateway.token,
        apiVersion: '2025-04-01-preview',
        deployment: 'my-deployment',
      });
      const answer = await client.chat.completions.create({ model: 'gpt-4o', messages });
      t.equal(answer.choices[0]?.message.content, 'Hello from Azure');
      const [seen] = upstream.requests;
      t.equal(
        seen?.path,
        '/openai/deployments/my-deployment/chat/completions?api-version=2025-04-01-preview',
        'path and query',
      );
      t.equal(seen?.headers['api-key'], key);
      t.equal(seen?.headers.authorization, undefined, 'the gateway token stayed here');
      await metered(t, answer._request_id, recordingOf('azure', 'chat.json'));
    });

    t.test('Ollama’s own interface is metered, line by line', async (t) => {
      const headers = { 'content-type': 'application/x-ndjson' };
      const answer = recordingOf('ollama', 'api-chat-stream');
      const upstream = await scriptUpstream(t, [
        { body: answer.bytes, headers },
        { body: answer.bytes.subarray(0, answer.bytes.lastIndexOf('\n', -2) + 1), headers },
      ]);
      const { argv, origin } = recipes.find(({ name }) => name === 'ollama') ?? { argv: [], origin: '' };
      const here = argv.map((word) =>
        word === origin ? upstream.origin : word === 'ollama' ? 'lines' : word,
      );
      t.equal((await runLine(gateway, here, '')).exit, 0);
      const ask = () =>
        fetch(`${gateway.origin}/custom/lines/api/chat`, {
          method: 'POST',
          headers: { authorization: `Bearer ${gateway.token}`, 'content-type': 'application/json' },
          body: JSON.stringify({ model: 'qwen3:8b', messages }),
        });
      const whole = await ask();
      t.equal(await whole.text(), answer.bytes.toString());
      const early = await ask();
      await early.text();
      await gateway.shipped();
      const callOf = async (response: Response) =>
        (await gateway.api('GET', `/usage/calls/${response.headers.get('x-request-id')}`)).body.attempts[0];
      t.match(await callOf(whole), { operation: 'ollama.chat', usageSource: 'provider', ...answer.usage });
      t.match(await callOf(early), { usageSource: 'estimated' }, 'without its last line');
    });

    t.test('an Anthropic interface behind a custom origin is metered as such', async (t) => {
      const answer = recordingOf('../anthropic', 'messages.json');
      const upstream = await scriptUpstream(t, [
        { body: answer.bytes, headers: { 'content-type': 'application/json' } },
      ]);
      const { argv, origin } = recipes.find(({ name }) => name === 'deepseek') ?? { argv: [], origin: '' };
      const key = 'deepseek-key-0123456789abcdef';
      const here = argv.map((word) =>
        word === origin ? upstream.origin : word === 'deepseek' ? 'ds' : word,
      );
      t.equal((await runLine(gateway, here, key)).exit, 0);
      const response = await fetch(`${gateway.origin}/custom/ds/anthropic/v1/messages`, {
        method: 'POST',
        headers: { 'x-api-key': gateway.token, 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'deepseek-v4-flash', max_tokens: 9, messages }),
      });
      t.equal(response.status, 200);
      t.equal(upstream.requests[0]?.headers.authorization, `Bearer ${key}`);
      await response.arrayBuffer();
      await gateway.shipped();
      const call = await gateway.api('GET', `/usage/calls/${response.headers.get('x-request-id')}`);
      t.match(call.body.attempts[0], {
        operation: 'anthropic.messages',
        usageSource: 'provider',
        ...answer.usage,
      });
    });
  },
);
