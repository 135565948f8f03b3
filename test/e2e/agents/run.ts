/**
 * By hand: each coding agent, from its npm package, does one task through the gateway. The model is a stand-in that asks for one file to
 * be written and then says so.
 *
 *   node test/e2e/agents/run.ts [FOLDER]
 *
 * FOLDER keeps the packages (1.2 GB) for the next time; without it they are installed into a temporary one.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { gatewayTo, providerKeys, startAimock } from '../stand-in.ts';
import { agents } from './agents.ts';

const run = promisify(execFile);
const task = 'Write a file named greeting.txt that says: Hello from the other side.';
const greeting = 'Hello from the other side.';

async function folderFor(t: Test): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'sallyport-agents-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function installed(t: Test): Promise<string> {
  const folder = process.argv[2] ?? (await folderFor(t));
  const wanted = agents.filter(({ program }) => !existsSync(path.join(folder, 'node_modules/.bin', program)));
  if (wanted.length > 0) {
    const packages = wanted.map((agent) => `${agent.package}@${agent.version}`);
    await run('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--prefix', folder, ...packages]);
  }
  return path.join(folder, 'node_modules/.bin');
}

t.setTimeout(1_800_000);

t.test('coding agents do one task through the gateway', { timeout: 1_200_000 }, async (t) => {
  const programs = await installed(t);
  const mock = await startAimock(t);
  const gateway = await gatewayTo(t, mock.url);
  for (const agent of agents) {
    await t.test(agent.name, { timeout: 180_000 }, async (t) => {
      const home = await folderFor(t);
      const place = await folderFor(t);
      for (const [file, text] of Object.entries(agent.files?.(gateway) ?? {})) {
        await mkdir(path.dirname(path.join(home, file)), { recursive: true });
        await writeFile(path.join(home, file), text);
      }
      const file = path.join(place, 'greeting.txt');
      const call = agent.write(file, greeting);
      mock.reset();
      mock.on(
        { predicate: ({ messages }) => messages.some(({ role }) => role === 'tool') },
        { content: 'The file is written.' },
      );
      mock.on(
        { predicate: ({ tools }) => tools?.some((tool) => tool.function.name === call.name) === true },
        { toolCalls: [{ name: call.name, arguments: JSON.stringify(call.arguments) }] },
      );
      mock.on({ predicate: () => true }, { content: 'A greeting' });

      const child = run(path.join(programs, agent.program), agent.args(task), {
        cwd: place,
        timeout: 150_000,
        env: {
          PATH: process.env['PATH'],
          HOME: home,
          NO_COLOR: '1',
          CI: '1',
          ...agent.env(gateway),
          ...agent.extra,
        },
      });
      child.child.stdin?.end();
      const { stdout, stderr } = await child.catch(
        (error: unknown) => error as { stdout: string; stderr: string },
      );
      t.match(stdout, 'The file is written.', stderr.slice(-2000));
      t.equal(await readFile(file, 'utf8').catch(() => null), greeting, 'the tool ran');

      await gateway.shipped();
      const { body } = await gateway.api('GET', '/usage/calls?limit=100');
      const calls = body.data.filter(
        (one: { provider: string; operation: string }) =>
          one.provider === agent.provider && one.operation === agent.operation,
      );
      t.ok(calls.length >= 2, `${calls.length} calls are on record`);
      const text = stdout + stderr;
      for (const key of Object.values(providerKeys)) t.notOk(text.includes(key));
    });
  }
});
