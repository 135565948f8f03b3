import type { Command } from './command.ts';
import { optionsOf, usageLine } from './parse.ts';

export function overviewText(commands: readonly Command[]): string {
  const width = Math.max(...commands.map(({ words, argument }) => nameOf(words, argument).length));
  const lines = commands.map(
    ({ words, argument, doc }) => `  ${nameOf(words, argument).padEnd(width)}  ${doc}`,
  );
  return `Sallyport holds provider keys and lends them out, one call at a time.

${lines.join('\n')}

  bin/sallyport COMMAND --help says more. All take --json.

How a command reaches the gateway: --url URL (or SALLYPORT_URL) with SALLYPORT_ADMIN_TOKEN; else the admin socket of a gateway
that runs here; else it opens the data directory itself.
Exit codes: 0 ok, 1 refused or bad, 2 wrong usage, 3 not found, 4 out of reach, 78 configuration.
`;
}

export function commandText(command: Command): string {
  const options = Object.entries(optionsOf(command)).filter(([, option]) => option.isHidden !== true);
  const forms = options.map(([name, option]) =>
    option.value === null ? `--${name}` : `--${name} ${option.value}`,
  );
  const width = Math.max(...forms.map((form) => form.length));
  const lines = options.map(([, { doc }], i) => `  ${(forms[i] ?? '').padEnd(width)}  ${doc}`);
  return `${command.doc}\n\n  ${usageLine(command)}\n\n${lines.join('\n')}\n`;
}

function nameOf(words: string, argument: string | undefined): string {
  return argument === undefined ? words : `${words} ${argument}`;
}
