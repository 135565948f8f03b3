import { PassThrough, Readable } from 'node:stream';
import { runCli } from '../../src/cli/run.ts';
import { readConfig } from '../../src/config.ts';
import type { TestGateway } from './gateway.ts';
import { said } from './said.ts';

/** Runs one command against a gateway, as its owner with a token would. */
export async function runCommand(
  { adminToken, origin }: Pick<TestGateway, 'adminToken' | 'origin'>,
  ...argv: readonly string[]
): Promise<{ readonly exit: number; readonly output: string; readonly error: string }> {
  const [output, error] = [new PassThrough(), new PassThrough()];
  const exit = await runCli({
    argv,
    terminal: { input: Readable.from([]), output, error },
    version: 'test',
    readConfig: () => readConfig({ SALLYPORT_URL: origin, SALLYPORT_ADMIN_TOKEN: adminToken }),
    loadDeps: () => Promise.reject(new Error('over HTTP alone')),
  });
  return { exit, output: said(output), error: said(error) };
}
