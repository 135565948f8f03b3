/**
 * A whole gateway for bench/journal.ts, a child process. argv: `strict`, `relaxed` or `off`, the stand-in's port, a folder, the key.
 * `off` is a journal that forgets, handed in here and nowhere else: the product has no setting for it. Nothing is shipped meanwhile, for
 * that is no call's way. Tells port and token over the parent's channel, its CPU time when asked, and ends with the channel.
 */
import path from 'node:path';
import { createApp } from '../src/app.ts';
import { readConfig } from '../src/config.ts';
import { openInstallation } from '../src/installation.ts';
import { createLog } from '../src/telemetry/log.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';
import { forgetful } from './nothing.ts';

/** What a parent is told when it says anything. Microseconds of all threads. */
export interface Spent {
  readonly cpuUs: number;
}

const [mode = 'strict', upstreamPort = '', folder = '', key = ''] = process.argv.slice(2);
const config = readConfig({
  DATA_DIR: path.join(folder, mode),
  PORT: '0',
  LOG_LEVEL: 'warn',
  JOURNAL_SYNC: mode === 'relaxed' ? 'relaxed' : 'strict',
  SALLYPORT_OPENAI_ORIGIN: `http://127.0.0.1:${upstreamPort}`,
});
const log = createLog({ level: config.logLevel, write: (line) => void process.stderr.write(`${line}\n`) });
const metrics = createMetrics({ version: 'bench', node: process.version });
const opened = await openInstallation(config, { log, metrics });
await opened.shipper.flush();
await opened.shipper.stop();
const installation = mode === 'off' ? { ...opened, journal: forgetful(opened.journal) } : opened;
const app = await createApp(config, { installation, log, metrics, version: 'bench' });
await app.initialise();
await post('/api/api-keys', { name: 'bench', provider: 'openai', value: key, force: true });
const limits = { requestsPerMinute: 1_000_000, concurrentCalls: 1000 };
const { token } = await post('/api/tokens', { name: 'bench', ...limits });
const port = await app.main.listen({ host: '127.0.0.1', port: 0 });
process.on('message', () => {
  const { system, user } = process.cpuUsage();
  process.send?.({ cpuUs: system + user } satisfies Spent);
});
process.on('disconnect', () => {
  void app
    .close(0)
    .then(() => opened.close())
    .then(() => process.exit(0));
});
process.send?.({ port, token });

async function post(to: string, body: object): Promise<{ readonly token: string }> {
  const answer = await app.operator.inject('POST', to, Buffer.from(JSON.stringify(body)));
  if (answer.status !== 201) throw new Error(answer.body.toString('utf8'));
  return JSON.parse(answer.body.toString('utf8')) as { token: string };
}
