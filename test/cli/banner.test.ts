import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import t from 'tap';
import { bannerText, type Banner } from '../../src/cli/banner.ts';
import { handOver } from '../../src/cli/first-start.ts';

const token = `spt_${'t'.repeat(61)}`;
const first = {
  workspaceId: `ws_${'0'.repeat(32)}`,
  adminToken: `spa_${'a'.repeat(61)}`,
  token,
  baseUrl: 'http://127.0.0.1:8080',
};
const banner: Banner = {
  version: '1.2.3',
  dataDir: '/data',
  baseUrl: first.baseUrl,
  providers: [],
  importedKeys: [],
  token,
  firstStartFile: null,
};

/** What a shell makes of the banner's curl line: its arguments. */
function pasted(text: string): string[] {
  const line = /curl -N [^]*? -d '[^\n]*'/.exec(text)?.[0] ?? '';
  const script = `curl() { for word; do printf '%s\\0' "$word"; done; }\n${line}`;
  return execFileSync('sh', ['-c', script], { encoding: 'utf8' }).split('\0').slice(0, -1);
}

t.test('with a key the banner shows a call of a provider that has one, and no other', async (t) => {
  for (const [providers, url, credential, model] of [
    [['groq', 'openai'], '/v1/chat/completions', 'authorization: Bearer ', 'gpt-4o-mini'],
    [['groq'], '/v1/chat/completions', 'authorization: Bearer ', 'groq/llama-3.3-70b-versatile'],
    [['xai'], '/v1/chat/completions', 'authorization: Bearer ', 'grok-3-mini'],
    [['anthropic'], '/anthropic/v1/messages', 'x-api-key: ', 'claude-haiku-4-5'],
    [
      ['google'],
      '/google/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse',
      'x-goog-api-key: ',
      undefined,
    ],
  ] as const) {
    const text = bannerText({ ...banner, providers });
    t.notMatch(text, /keys add/);
    const [option, target, ...rest] = pasted(text);
    t.same([option, target], ['-N', first.baseUrl + url]);
    t.ok(rest.includes(credential + token));
    t.equal(JSON.parse(rest.at(-1) ?? '').model, model);
  }
});

t.test('where the tokens went into a file, the line reads the token from it', async (t) => {
  const dataDir = path.join(t.testdir({}), "who's data");
  mkdirSync(dataDir);
  const file = handOver(first, dataDir, new PassThrough());
  const text = bannerText({ ...banner, dataDir, providers: ['openai'], token: null, firstStartFile: file });
  t.notMatch(text, token);
  t.ok(pasted(text).includes(`authorization: Bearer ${token}`));
});

t.test('without a key: how to store one, the call, the demo and Ollama, in this order', async (t) => {
  const text = bannerText(banner);
  t.match(
    text,
    /bin\/sallyport keys add --provider openai[^]*curl -N [^]*npm run demo -- --keep[^]*--name ollama/,
  );
  t.ok(pasted(text).includes(`authorization: Bearer ${token}`));
});
