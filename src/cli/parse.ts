import { parseArgs } from 'node:util';
import { nearName } from '../near-name.ts';
import type { Command, Option } from './command.ts';
import { usageError } from './failure.ts';

const commonOptions: Readonly<Record<string, Option>> = {
  json: { value: null, doc: 'one JSON document on standard output' },
  url: { value: 'URL', doc: 'the gateway to talk to, with SALLYPORT_ADMIN_TOKEN (also SALLYPORT_URL)' },
  help: { value: null, doc: 'this text' },
};

/** Its own and those of every command, as far as they mean something to it. */
export function optionsOf({ options, isLocal }: Command): Readonly<Record<string, Option>> {
  const common = Object.entries(commonOptions).filter(([name]) => isLocal !== true || name !== 'url');
  return { ...options, ...Object.fromEntries(common) };
}

export type Parsed =
  | { readonly kind: 'help'; readonly command: Command | null }
  | { readonly kind: 'version' }
  | {
      readonly kind: 'command';
      readonly command: Command;
      readonly values: Readonly<Record<string, string | boolean | undefined>>;
      readonly argument: string;
    };

/** Shapes of keys, tokens and seals. An argument is seen by every process of the machine and stays in the shell's history. */
const secretShape =
  /(^|=)(sk-[\w-]{12,}|gsk_\w{8,}|xai-\w{8,}|AIza[\w-]{12,}|AKIA[0-9A-Z]{12,}|sp[ats]_[\w-]{16,}|AGE-SECRET-KEY-)/;

/** @throws {SallyportError} REQUEST_INVALID: wrong usage, with the form that is right. */
export function parse(argv: readonly string[], commands: readonly Command[]): Parsed {
  const positionals = parseArgs({
    args: [...argv],
    options: specOf(
      Object.assign({}, ...commands.map(({ options }) => options), commonOptions) as Record<string, Option>,
    ),
    allowPositionals: true,
    strict: false,
  }).positionals;
  const command = findCommand(positionals, commands);
  const isAsking = argv.includes('--help') || argv.includes('-h') || positionals[0] === 'help';
  if (isAsking) return { kind: 'help', command: command ?? findCommand(positionals.slice(1), commands) };
  if (argv[0] === '--version' || (positionals.length === 1 && positionals[0] === 'version'))
    return { kind: 'version' };
  if (argv.some((argument) => secretShape.test(argument))) {
    throw usageError(
      'An argument looks like a key or token. It now stands in your shell’s history, and other processes could read it.',
      command?.words === 'keys add' || command?.words === 'keys replace'
        ? 'Replace that key at its provider. Then: bin/sallyport keys add --provider openai --name main, which asks for the value or reads it from standard input.'
        : 'Name keys, tokens and seals by their ids: bin/sallyport keys list, tokens list, seals list. Replace what was shown.',
    );
  }
  if (command === null) throw unknownCommand(positionals, commands);
  return { kind: 'command', command, ...parseOptions(argv, command) };
}

function parseOptions(argv: readonly string[], command: Command) {
  const options = optionsOf(command);
  const { tokens } = parseArgs({
    args: [...argv],
    options: specOf(options),
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  const values: Record<string, string | boolean> = {};
  const rest: string[] = [];
  const fix = `Usage: ${usageLine(command)}`;
  for (const token of tokens) {
    if (token.kind === 'positional') rest.push(token.value);
    if (token.kind !== 'option') continue;
    const option = Object.hasOwn(options, token.name) ? options[token.name] : undefined;
    if (option === undefined) {
      if (token.name === 'url')
        throw usageError(
          `${command.words} works on this machine alone: it takes no --url.`,
          `Run it on the machine that it is about, without --url. ${fix}`,
        );
      const near = nearName(
        token.rawName,
        Object.keys(options).map((name) => `--${name}`),
      );
      const isValue = /^(?:value|key|secret|api-key)$/.test(token.name) && command.words.startsWith('keys ');
      const isSeal = /^(?:secret|seal|old|new)$/.test(token.name) && /^(?:keys|seals) /.test(command.words);
      throw isValue || isSeal
        ? usageError('A secret is never an argument: it is read from standard input or asked for.', fix)
        : usageError(
            `There is no option ${token.rawName}${near === null ? '.' : `; did you mean ${near}?`}`,
            fix,
          );
    }
    if (option.value === null && token.value !== undefined)
      throw usageError(`${token.rawName} takes no value.`, fix);
    // `--name --json`: a switch is no value; one that begins with a dash is given as --name=-x.
    const isSwallowed = token.value !== undefined && !token.inlineValue && token.value.startsWith('-');
    if (option.value !== null && (token.value === undefined || isSwallowed)) {
      throw usageError(`${token.rawName} needs a value: ${token.rawName} ${option.value}.`, fix);
    }
    const before = Object.hasOwn(values, token.name) ? values[token.name] : undefined;
    if (before !== undefined && option.isRepeatable !== true)
      throw usageError(`${token.rawName} stands twice.`, fix);
    values[token.name] = before === undefined ? (token.value ?? true) : `${before},${token.value ?? ''}`;
  }
  const [argument, surplus] = rest.slice(command.words.split(' ').length);
  if (command.argument !== undefined && argument === undefined)
    throw usageError(`${command.argument} is missing.`, fix);
  if (surplus !== undefined || (command.argument === undefined && argument !== undefined)) {
    throw usageError('There is an argument too many.', fix);
  }
  for (const [name, option] of Object.entries(options)) {
    if (option.isRequired === true && values[name] === undefined)
      throw usageError(`--${name} ${option.value ?? ''} is missing.`, fix);
  }
  return { values, argument: argument ?? '' };
}

function findCommand(words: readonly string[], commands: readonly Command[]): Command | null {
  const [first = '', second = ''] = words;
  return (
    commands.find((command) => command.words === `${first} ${second}`) ??
    commands.find((command) => command.words === first) ??
    null
  );
}

function unknownCommand(words: readonly string[], commands: readonly Command[]) {
  const all = commands.map((command) => command.words);
  const fix = 'bin/sallyport --help lists the commands.';
  const [first = '', second] = words;
  const group = all.filter((name) => name.startsWith(`${first} `));
  if (first === '') return usageError('A command is missing.', fix);
  if (group.length > 0 && second === undefined)
    return usageError(`${first} needs one of: ${group.join(', ')}.`, fix);
  const near = nearName(`${first} ${second ?? ''}`.trim(), all) ?? nearName(first, all);
  return usageError(
    near === null ? 'There is no such command.' : `There is no such command; did you mean ${near}?`,
    fix,
  );
}

/** `bin/sallyport keys test ID [--json]` */
export function usageLine(command: Command): string {
  const parts = [
    'bin/sallyport',
    command.words,
    ...(command.argument === undefined ? [] : [command.argument]),
  ];
  for (const [name, option] of Object.entries(command.options)) {
    if (option.isHidden === true) continue;
    const form = option.value === null ? `--${name}` : `--${name} ${option.value}`;
    parts.push(option.isRequired === true ? form : `[${form}]`);
  }
  return parts.join(' ');
}

function specOf(options: Readonly<Record<string, Option>>) {
  return Object.fromEntries(
    Object.entries(options).map(([name, { value }]) => [
      name,
      { type: value === null ? ('boolean' as const) : ('string' as const) },
    ]),
  );
}
