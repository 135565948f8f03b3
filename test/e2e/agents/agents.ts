/** One coding agent, as its users start it for a single task. */
export interface Agent {
  readonly name: string;
  /** The npm package, and the version that this was tried with. */
  readonly package: string;
  readonly version: string;
  readonly program: string;
  /** The provider that has to be on record, and what its calls are there. */
  readonly provider: 'openai' | 'anthropic' | 'google';
  readonly operation: string;
  args(task: string): readonly string[];
  /** What docs/clients.md tells. */
  env(gateway: { readonly origin: string; readonly token: string }): Readonly<Record<string, string>>;
  /** What the run needs besides. */
  readonly extra?: Readonly<Record<string, string>>;
  /** Written into the home folder before the start. */
  readonly files?: (gateway: { readonly origin: string }) => Readonly<Record<string, string>>;
  /** The tool call by which the model writes a file. */
  write(
    file: string,
    text: string,
  ): { readonly name: string; readonly arguments: Readonly<Record<string, unknown>> };
}

export const agents: readonly Agent[] = [
  {
    name: 'Claude Code',
    package: '@anthropic-ai/claude-code',
    version: '2.1.330',
    program: 'claude',
    provider: 'anthropic',
    operation: 'anthropic.messages',
    args: (task) => ['-p', task, '--permission-mode', 'acceptEdits'],
    env: ({ origin, token }) => ({ ANTHROPIC_BASE_URL: `${origin}/anthropic`, ANTHROPIC_AUTH_TOKEN: token }),
    write: (file, text) => ({ name: 'Write', arguments: { file_path: file, content: text } }),
  },
  {
    name: 'Codex CLI',
    package: '@openai/codex',
    version: '0.169.0',
    program: 'codex',
    provider: 'openai',
    operation: 'openai.responses',
    // Newer models get their tools in a form that the stand-in does not read.
    args: (task) => {
      const options =
        '--model gpt-5.1-codex --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox';
      return ['exec', ...options.split(' '), task];
    },
    env: ({ token }) => ({ SALLYPORT_TOKEN: token }),
    files: ({ origin }) => ({
      '.codex/config.toml': `model_provider = "sallyport"

[model_providers.sallyport]
name = "Sallyport"
base_url = "${origin}/v1"
env_key = "SALLYPORT_TOKEN"
wire_api = "responses"
`,
    }),
    write: (file, text) => ({
      name: 'exec_command',
      arguments: { cmd: `printf '%s' '${text}' > '${file}'` },
    }),
  },
  {
    name: 'Gemini CLI',
    package: '@google/gemini-cli',
    version: '0.61.0',
    program: 'gemini',
    provider: 'google',
    operation: 'google.stream_generate_content',
    args: (task) => ['-p', task, '--yolo', '--model', 'gemini-2.5-flash'],
    env: ({ origin, token }) => ({
      GOOGLE_GEMINI_BASE_URL: `${origin}/google`,
      GEMINI_API_KEY: token,
    }),
    // A folder that nobody has said yes to takes no tool calls.
    extra: { GEMINI_CLI_TRUST_WORKSPACE: 'true' },
    files: () => ({
      '.gemini/settings.json': '{ "security": { "auth": { "selectedType": "gemini-api-key" } } }',
    }),
    write: (file, text) => ({ name: 'write_file', arguments: { file_path: file, content: text } }),
  },
  {
    name: 'opencode',
    package: 'opencode-ai',
    version: '1.18.33',
    program: 'opencode',
    provider: 'openai',
    operation: 'openai.chat',
    args: (task) => ['run', '--model', 'sallyport/gpt-5.1', task],
    env: ({ token }) => ({ SALLYPORT_TOKEN: token }),
    files: ({ origin }) => ({
      '.config/opencode/opencode.json': JSON.stringify({
        $schema: 'https://opencode.ai/config.json',
        provider: {
          sallyport: {
            npm: '@ai-sdk/openai-compatible',
            name: 'Sallyport',
            options: { baseURL: `${origin}/v1`, apiKey: '{env:SALLYPORT_TOKEN}' },
            models: { 'gpt-5.1': { name: 'GPT-5.1' } },
          },
        },
      }),
    }),
    write: (file, text) => ({
      name: 'bash',
      arguments: { command: `printf '%s' '${text}' > '${file}'`, description: 'Writes the greeting' },
    }),
  },
];
