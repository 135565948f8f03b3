import { setImmediate } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { SallyportError } from '../errors.ts';
import { alertCommands } from './alerts.ts';
import { breachCommands } from './breach.ts';
import { aliasCommands } from './aliases.ts';
import { priceCommands } from './prices.ts';
import { auditCommands } from './audit.ts';
import { type Api, createApi } from './api.ts';
import type { Command, Context, Terminal } from './command.ts';
import { demoCommand } from './demo/demo.ts';
import type { CliDeps } from './deps.ts';
import { explainCommands } from './explain.ts';
import { exits, failureOf } from './failure.ts';
import { healthcheckCommand } from './healthcheck.ts';
import { installationCommands } from './installation.ts';
import { journalCommands } from './journal.ts';
import { keyringCommands } from './keyring.ts';
import { keyEditCommands } from './key-edit.ts';
import { keyLifeCommands } from './key-life.ts';
import { keyCommands } from './keys.ts';
import { type Parsed, parse } from './parse.ts';
import { memberCommands } from './members.ts';
import { peopleCommands } from './people.ts';
import { sealCommands } from './seals.ts';
import { tokenCommands } from './tokens.ts';
import { safekeepingCommands } from './safekeeping.ts';
import { type Transport, adminSocketPath, isListening, openTransport } from './transport.ts';
import { webhookCommands } from './webhooks.ts';
import { workspaceCommands } from './workspaces.ts';
import { callCommands } from './usage-calls.ts';
import { providerCommands } from './providers.ts';
import { recostCommand, usageCommand } from './usage.ts';
import { commandText, overviewText } from './usage-text.ts';

export const commands: readonly Command[] = [
  ...installationCommands,
  healthcheckCommand,
  ...keyCommands,
  ...keyEditCommands,
  ...keyLifeCommands,
  ...sealCommands,
  ...tokenCommands,
  ...providerCommands,
  ...aliasCommands,
  ...explainCommands,
  ...priceCommands,
  ...peopleCommands,
  ...memberCommands,
  ...workspaceCommands,
  ...journalCommands,
  ...alertCommands,
  ...webhookCommands,
  ...breachCommands,
  ...keyringCommands,
  ...safekeepingCommands,
  ...auditCommands,
  usageCommand,
  ...callCommands,
  recostCommand,
  demoCommand,
];

export interface Program {
  readonly argv: readonly string[];
  readonly terminal: Terminal;
  readonly version: string;
  /** @throws {SallyportError} CONFIG_INVALID */
  readConfig(): Config;
  loadDeps(config: Config): Promise<CliDeps>;
}

/**
 * Runs one command and resolves with its exit code; never rejects. With --json standard output gets one document or nothing, and
 * standard error `{"code","message","fix"}` of what went wrong.
 */
export async function runCli(program: Program): Promise<number> {
  const { argv, terminal } = program;
  const isJson = argv.includes('--json');
  try {
    const parsed = parse(argv, commands);
    if (parsed.kind === 'help') {
      terminal.output.write(parsed.command === null ? overviewText(commands) : commandText(parsed.command));
      return exits.ok;
    }
    if (parsed.kind === 'version') {
      terminal.output.write(`${program.version}\n`);
      return exits.ok;
    }
    return await runCommand(program, parsed, isJson);
  } catch (error) {
    const { exit, ...failure } = failureOf(error);
    const { code, message, fix } = failure;
    const text = `sallyport: ${message} (${code})\n${fix === '' ? '' : `  ${fix}\n`}`;
    terminal.error.write(isJson ? `${JSON.stringify({ code, message, fix })}\n` : text);
    return exit;
  }
}

async function runCommand(
  program: Program,
  parsed: Parsed & { kind: 'command' },
  isJson: boolean,
): Promise<number> {
  const { terminal } = program;
  const { values, command } = parsed;
  const text = (name: string) => {
    const value = values[name];
    return typeof value === 'string' ? value : null;
  };
  let config: Config | null = null;
  let transport: Transport | null = null;
  let api: Api | null = null;
  let checkPrinted: (() => Promise<void>) | null = null;
  const context: Context = {
    terminal,
    isJson,
    text,
    texts: (name) => (text(name) ?? '').split(',').filter((one) => one !== ''),
    has: (name) => values[name] === true,
    argument: parsed.argument,
    config: () => (config ??= program.readConfig()),
    deps: async () => guardInit(await program.loadDeps(context.config()), context.config()),
    async api() {
      if (api !== null) return api;
      const url = text('url') ?? context.config().url;
      transport = await openTransport({
        url,
        config: context.config(),
        openOffline: async () => (await context.deps()).openOffline(),
      });
      return (api = createApi(transport));
    },
    print(document, human) {
      checkPrinted ??= watchWrites(terminal.output);
      terminal.output.write(isJson ? `${JSON.stringify(document)}\n` : human);
    },
  };
  try {
    const exit = await command.run(context);
    await (checkPrinted as (() => Promise<void>) | null)?.();
    return exit;
  } finally {
    await (transport as Transport | null)?.close();
  }
}

/**
 * Whether what is written from now on goes anywhere: a token that is shown once is lost in a file on a full disk, and whoever made it has
 * to hear that. A reader that went away has what it wanted.
 */
function watchWrites(output: Terminal['output']): () => Promise<void> {
  let lost: NodeJS.ErrnoException | null = null;
  const onError = (error: NodeJS.ErrnoException): void => void (lost ??= error);
  output.on('error', onError);
  return async () => {
    // A stream tells of it a moment after the write.
    await setImmediate();
    output.off('error', onError);
    const { code, message } = lost ?? { code: 'EPIPE', message: '' };
    if (code === 'EPIPE') return;
    throw Object.assign(
      new Error(`Standard output did not take all of the answer (${message}); what was asked for was done.`),
      { code, syscall: 'write' },
    );
  };
}

/** A gateway that answers on the data directory is proof enough that it was set up; init need not wait for its lock. */
function guardInit(deps: CliDeps, config: Config): CliDeps {
  return {
    ...deps,
    async init() {
      if (await isListening(adminSocketPath(config.dataDir))) {
        throw new SallyportError('ALREADY_INITIALISED', 'A gateway runs on this data directory.');
      }
      return deps.init();
    },
  };
}
