/**
 * By hand: every method of openai-node against a strict stand-in made of OpenAI's own specification, directly and through the gateway.
 *
 *   node test/e2e/specification/run.ts SPECIFICATION.json STEADY
 *
 * SPECIFICATION.json: OpenAI's OpenAPI document as JSON. STEADY: the program of the npm package `@stdy/cli`, which refuses with 400 what
 * the document does not allow.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import OpenAI from 'openai';
import t, { type Test } from 'tap';
import { freePort } from '../../../bench/free-port.ts';
import { startGateway } from '../../support/gateway.ts';
import { inTurns, outcomeOf, surfaceOf } from '../sdk-surface.ts';
import { argumentsFor, operationFor, type Specification } from './arguments.ts';

const key = 'sk-specification-0123456789';
const body = { model: 'gpt-4o-mini' };

/** The stand-in, with `/v1` before every path as the gateway sends it, and the same answer to the same request. */
async function startSteady(t: Test, program: string, spec: Specification): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'sallyport-spec-'));
  const file = path.join(folder, 'openapi.json');
  const paths = Object.fromEntries(Object.entries(spec.paths).map(([at, item]) => [`/v1${at}`, item]));
  await writeFile(file, JSON.stringify({ ...spec, paths }));
  const port = await freePort();
  const options = ['--reject-on-sdk-error', '--generator-seed=7', '--no-color', `--port=${port}`];
  const child: ChildProcess = spawn(program, [...options, file], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(async () => {
    child.kill();
    await rm(folder, { recursive: true, force: true });
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout?.on('data', (text: Buffer) => {
      if (text.includes('Ready')) resolve();
    });
    child.once('exit', () => reject(new Error('the stand-in ended')));
  });
  return `http://127.0.0.1:${port}`;
}

t.setTimeout(600_000);

t.test('openai-node against its specification', async (t) => {
  const [file, program] = process.argv.slice(2);
  if (file === undefined || program === undefined) throw new Error('usage: run.ts SPECIFICATION.json STEADY');
  const spec = JSON.parse(readFileSync(file, 'utf8')) as Specification;
  const origin = await startSteady(t, program, spec);
  const gateway = await startGateway(t, { upstreams: { openai: origin } });
  await gateway.addKey('openai', key);
  const made = await gateway.api('POST', '/tokens', {
    name: 'specification',
    requestsPerMinute: 1_000_000,
    concurrentCalls: 1000,
  });
  const connect = (baseURL: string, apiKey: string) =>
    new OpenAI({ apiKey, adminAPIKey: apiKey, baseURL, maxRetries: 0 });
  const direct = connect(`${origin}/v1`, key);
  const unified = connect(`${gateway.origin}/v1`, made.body.token);
  // The lists of models on /v1 are the gateway's own.
  const native = connect(`${gateway.origin}/openai/v1`, made.body.token);
  const told = { passed: 0, refused: [] as string[], unknown: [] as string[], invalid: [] as string[] };

  await inTurns(surfaceOf(direct, body), 4, async (method) => {
    if (!method.isRequest && !/^(?:chat\.completions|embeddings)\.create$/.test(method.name)) return;
    let asked: { method: string; path: string } | null = null;
    const spy = new OpenAI({
      apiKey: key,
      adminAPIKey: key,
      baseURL: 'http://spy/v1',
      maxRetries: 0,
      fetch: async (url, init) => {
        asked = { method: init?.method ?? 'GET', path: new URL(url as string).pathname.slice('/v1'.length) };
        return new Response('{}', { headers: { 'content-type': 'application/json' } });
      },
    });
    await outcomeOf(() => method.call(spy, 'spy'));
    const { method: verb, path: at } = asked ?? { method: '', path: '' };
    const operation = operationFor(spec, verb, at);
    if (operation === null) {
      told.unknown.push(method.name);
      return;
    }
    const given = argumentsFor(spec, operation);
    // On /v1 the model says who answers.
    const change = () => ('model' in given ? { ...given, ...body } : given);
    const expected = (await outcomeOf(() => method.call(direct, 'direct', change))) as {
      error?: string;
      message?: string;
    };
    const relayed = method.name.startsWith('models.') ? native : unified;
    const found = (await outcomeOf(() => method.call(relayed, 'gateway', change))) as { code?: string };
    if (found?.code === 'ENDPOINT_FORBIDDEN') {
      told.refused.push(method.name);
      return;
    }
    // On /v1 the list is the gateway's own, of all providers together.
    if (method.name === 'models.list')
      t.equal(typeof (found as { error?: string }).error, 'undefined', method.name);
    else t.same(found, expected, method.name);
    if (typeof expected?.error !== 'string') told.passed += 1;
    else told.invalid.push(`${method.name}: ${expected.message?.slice(0, 300)}`);
  });
  t.comment(`${told.passed} methods pass through the gateway as they do without it`);
  t.comment(`${told.refused.length} are refused: ${told.refused.join(', ')}`);
  t.comment(`${told.unknown.length} are not in this specification: ${told.unknown.join(', ')}`);
  t.comment(`${told.invalid.length} get the same refusal of the stand-in both ways:`);
  for (const line of told.invalid) t.comment(`  ${line}`);
});
