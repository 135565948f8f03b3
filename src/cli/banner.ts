export interface Banner {
  readonly version: string;
  readonly dataDir: string;
  readonly baseUrl: string;
  /** Providers that the operator may use now. */
  readonly providers: readonly string[];
  readonly importedKeys: readonly { readonly variable: string; readonly provider: string }[];
  /** Shown where it was just made; a placeholder elsewhere. */
  readonly token: string | null;
  readonly firstStartFile: string | null;
}

interface FirstCall {
  readonly path: string;
  /** Up to the token. */
  readonly credential: string;
  readonly headers?: readonly string[];
  readonly body: object;
}

/** A first call each: of a model that is cheap, and likely to be there for as long as the provider is. The first that can be made is shown. */
const firstCalls: Readonly<Record<string, FirstCall>> = {
  openai: chat('gpt-4o-mini'),
  groq: chat('groq/llama-3.3-70b-versatile'),
  xai: chat('grok-3-mini'),
  anthropic: {
    path: '/anthropic/v1/messages',
    credential: 'x-api-key: ',
    headers: ['anthropic-version: 2023-06-01'],
    body: {
      model: 'claude-haiku-4-5',
      max_tokens: 100,
      stream: true,
      messages: [{ role: 'user', content: 'Say hello' }],
    },
  },
  google: {
    path: '/google/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse',
    credential: 'x-goog-api-key: ',
    body: { contents: [{ role: 'user', parts: [{ text: 'Say hello' }] }] },
  },
};

/** What a person needs next, and nothing else. */
export function bannerText(banner: Banner): string {
  const { baseUrl, importedKeys, firstStartFile } = banner;
  const lines = [
    '',
    `Sallyport ${banner.version}`,
    `  data directory  ${banner.dataDir}`,
    `  base URL        ${baseUrl}/v1`,
  ];
  if (firstStartFile !== null) lines.push(`  tokens          ${firstStartFile}`);
  for (const { variable, provider } of importedKeys)
    lines.push(`  imported        ${variable} → ${provider} (managed, operator only)`);
  lines.push('');
  const possible = Object.entries(firstCalls).find(([provider]) => banner.providers.includes(provider));
  if (possible !== undefined) {
    lines.push('Try it:', '', indented(curl(banner, possible[1])), '');
    return lines.join('\n');
  }
  lines.push(
    'Store a provider key (it is asked for, never an argument):',
    '',
    '  bin/sallyport keys add --provider openai --name main',
    '',
    'Then:',
    '',
    indented(curl(banner, chat('gpt-4o-mini'))),
    '',
    'No key? npm run demo -- --keep',
    'Ollama: bin/sallyport keys add --provider custom --name ollama --origin http://127.0.0.1:11434 --auth none, then model "ollama/llama3.2"',
    '',
  );
  return lines.join('\n');
}

function chat(model: string): FirstCall {
  return {
    path: '/v1/chat/completions',
    credential: 'authorization: Bearer ',
    body: { model, stream: true, messages: [{ role: 'user', content: 'Say hello' }] },
  };
}

function curl(banner: Banner, { path, credential, headers = [], body }: FirstCall): string {
  const lines = [credential + tokenText(banner), ...headers, 'content-type: application/json'];
  return [
    `curl -N '${banner.baseUrl}${path}' \\`,
    `  ${lines.map((line) => `-H "${line}"`).join(' ')} \\`,
    `  -d '${JSON.stringify(body)}'`,
  ].join('\n');
}

/** The token, or what a shell reads it by: the line works as it is pasted, and no token stands in a log. */
function tokenText({ token, firstStartFile }: Banner): string {
  if (token !== null) return token;
  if (firstStartFile === null) return 'spt_…';
  const file = firstStartFile.replaceAll("'", String.raw`'\''`);
  return String.raw`$(sed -n 's/.*"token": "\(spt_[^"]*\)".*/\1/p' '${file}')`;
}

function indented(text: string): string {
  return text.replaceAll(/^/gm, '  ');
}
