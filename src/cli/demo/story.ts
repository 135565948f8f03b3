import { styleText } from 'node:util';
import { scrub } from '../../telemetry/scrub.ts';
import type { Terminal } from '../command.ts';
import type { Finding } from './evidence.ts';

export interface Step extends Finding {
  readonly name: string;
}

/** Tells what happens while it happens, and keeps the steps for --json. A step that throws is a step that is not true. */
export function createStory(output: Terminal['output'], isSilent: boolean, signal: AbortSignal) {
  const steps: Step[] = [];
  const stream = output as NodeJS.WriteStream;
  const style = (format: Parameters<typeof styleText>[0], text: string) =>
    styleText(format, text, { stream });
  const say = (text: string) => {
    if (!isSilent) output.write(text);
  };

  return Object.freeze({
    steps,
    say,
    style,

    title(text: string, below: string) {
      say(`\n  ${style('bold', text)}\n  ${style('dim', below)}\n`);
    },

    chapter(text: string) {
      say(`\n  ${style('cyan', text)}\n`);
    },

    /** @throws {Error} when the step is not true: what follows leans on it. */
    async step(name: string, work: () => Promise<Finding>): Promise<void> {
      const found = await work().catch((error: unknown) => ({
        ok: false,
        detail: scrub(error instanceof Error ? error.message : 'failed'),
      }));
      // Ctrl-C makes nothing untrue.
      if (signal.aborted) throw new StepFailed(name);
      steps.push({ name, ...found });
      const mark = found.ok ? style('green', '✓') : style('red', '✗');
      say(`  ${mark} ${name}\n    ${style('dim', found.detail.replaceAll('\n', '\n    '))}\n`);
      if (!found.ok) throw new StepFailed(name);
    },
  });
}

export type Story = ReturnType<typeof createStory>;

export class StepFailed extends Error {
  override readonly name = 'StepFailed';
}
