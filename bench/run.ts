import { readFileSync, writeFileSync } from 'node:fs';
import { bench } from './bench.ts';
import { withSection } from './document.ts';
import { readOptions, usage, type Options } from './options.ts';
import { reportMarkdown, reportText } from './report.ts';

/** @returns the exit code: 0, 1 if calls failed, 64 for options that are none. Noise and missed targets fail nothing. */
async function main(args: readonly string[]): Promise<number> {
  let options: Options;
  try {
    options = readOptions(args);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${usage}`);
    return 64;
  }
  const say = (line: string): void => void (process.stderr.isTTY && process.stderr.write(`${line}\n`));
  const result = await bench(options, say);
  process.stdout.write(options.isJson ? `${JSON.stringify(result, null, 2)}\n` : reportText(result));
  if (options.document !== null) {
    const command = ['npm run bench', ...(args.length === 0 ? [] : ['--', ...args])].join(' ');
    const old = readFileSync(options.document, 'utf8');
    writeFileSync(options.document, withSection(old, '## The hot path', reportMarkdown(result, command)));
  }
  return result.failedCalls > 0 ? 1 : 0;
}

process.exitCode = await main(process.argv.slice(2));
