import type { Config } from '../config.ts';
import type { Api } from './api.ts';
import type { CliDeps } from './deps.ts';

export interface Terminal {
  readonly input: NodeJS.ReadableStream & { readonly isTTY?: boolean; setRawMode?(mode: boolean): unknown };
  readonly output: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };
  readonly error: NodeJS.WritableStream;
}

/** What a command works with. Everything is opened on first use, and what was opened is closed by run.ts. */
export interface Context {
  readonly terminal: Terminal;
  readonly isJson: boolean;
  /** The text of an option, or null. */
  text(option: string): string | null;
  /** The texts of an option that may stand several times. */
  texts(option: string): readonly string[];
  has(option: string): boolean;
  /** The one positional argument, where the command has one. */
  readonly argument: string;
  config(): Config;
  deps(): Promise<CliDeps>;
  /** `/api`, over whichever way reaches it. */
  api(): Promise<Api>;
  /** `document` with --json, else the text. */
  print(document: unknown, text: string): void;
}

export interface Option {
  /** What stands in the usage text after the name; null: a switch. */
  readonly value: string | null;
  readonly doc: string;
  readonly isRequired?: true;
  /** May stand several times, or hold several values with commas between. */
  readonly isRepeatable?: true;
  /** Between bin/sallyport and this program, not for people. */
  readonly isHidden?: true;
}

export interface Command {
  /** `keys add` */
  readonly words: string;
  readonly doc: string;
  /** Name of the positional argument in the usage text. */
  readonly argument?: string;
  readonly options: Readonly<Record<string, Option>>;
  /** Never asks `/api`, and so takes no --url. */
  readonly isLocal?: true;
  /** @returns the exit code */
  run(context: Context): Promise<number>;
}
