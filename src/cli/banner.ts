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

/** A model for the first call: cheap, and likely to be there for as long as the provider is. */
const models: Readonly<Record<string, string>> = {
  openai: 'gpt-4o-mini',
  groq: 'groq/llama-3.3-70b-versatile',
  xai: 'grok-3-mini',
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
  const provider = banner.providers.find((name) => models[name] !== undefined);
  if (provider !== undefined) {
    lines.push('Try it:', '', indented(curl(banner, models[provider] as string)), '');
    return lines.join('\n');
  }
  lines.push(
    'Store a provider key (it is asked for, never an argument):',
    '',
    '  bin/sallyport keys add --provider openai --name main',
    '',
    'Then:',
    '',
    indented(curl(banner, 'gpt-4o-mini')),
    '',
    'No key? npm run demo -- --keep',
    'Ollama: bin/sallyport keys add --provider custom --name ollama --origin http://127.0.0.1:11434 --auth none, then model "ollama/llama3.2"',
    '',
  );
  return lines.join('\n');
}

function curl({ baseUrl, token }: Banner, model: string): string {
  const body = `{"model":"${model}","stream":true,"messages":[{"role":"user","content":"Say hello"}]}`;
  return [
    `curl -N ${baseUrl}/v1/chat/completions \\`,
    `  -H "authorization: Bearer ${token ?? 'spt_…'}" -H "content-type: application/json" \\`,
    `  -d '${body}'`,
  ].join('\n');
}

function indented(text: string): string {
  return text.replaceAll(/^/gm, '  ');
}
