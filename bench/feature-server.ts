/**
 * A whole gateway without a feature, a child process: the product's own parts, with nothing in the place of one of them. argv: which
 * (features.ts), the stand-in's port, a folder, the key. Its log goes to standard error. Tells port and token over the parent's
 * channel, when all is shipped if asked, and ends with the channel.
 */
import path from 'node:path';
import { createApp } from '../src/app.ts';
import { readConfig } from '../src/config.ts';
import { openDatabase, openInstallation } from '../src/installation.ts';
import { createLimits } from '../src/limits/limits.ts';
import { providers } from '../src/providers/catalogue.ts';
import { createLog } from '../src/telemetry/log.ts';
import { openLogSink } from '../src/telemetry/log-sink.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';
import { lacks, type Feature, type FeatureName } from './features.ts';
import { careless, forgetful, limitless, silent, uncounted, unmetered } from './nothing.ts';

const [name = 'all-on', upstreamPort = '', folder = '', key = ''] = process.argv.slice(2);
const without = (feature: Feature): boolean => lacks(name as FeatureName, feature);
const config = readConfig({
  DATA_DIR: path.join(folder, name),
  PORT: '0',
  SALLYPORT_OPENAI_ORIGIN: `http://127.0.0.1:${upstreamPort}`,
});
const sink = openLogSink(2);
const log = without('log')
  ? silent
  : createLog({ level: config.logLevel, write: (line) => sink.write(line) });
const counted = createMetrics({ version: 'bench', node: process.version });
const metrics = without('metrics') ? uncounted(counted) : counted;
const database = await openDatabase(config);
const opened = await openInstallation(config, { log, metrics, database });
const { journal, shipper, vault } = opened;
const app = await createApp(config, {
  installation: {
    ...opened,
    journal: without('journal') ? forgetful(journal) : journal,
    vault: without('vault') ? careless(vault, Buffer.from(key)) : vault,
  },
  limits: without('limits') ? limitless : createLimits({ clock: Date.now }),
  providers: without('metering') ? unmetered : providers,
  log,
  metrics,
  version: 'bench',
});
await app.initialise();
await post('/api/api-keys', { name: 'bench', provider: 'openai', value: key, force: true });
const limits = { requestsPerMinute: 1_000_000, concurrentCalls: 10_000 };
const { token } = await post('/api/tokens', { name: 'bench', ...limits });
await shipper.flush();
const isShipping = !without('shipping') && !without('journal');
if (!isShipping) await shipper.stop();
const port = await app.main.listen({ host: '127.0.0.1', port: 0 });
process.on('message', () => {
  const shipped = isShipping ? shipper.flush() : Promise.resolve();
  void shipped.then(() => process.send?.('shipped'));
});
process.on('disconnect', () => {
  // What was not shipped is not shipped now: nobody waits for it, and it would take longer than the bench.
  void app
    .close(0)
    .then(() => database.stop())
    .finally(() => process.exit(0));
});
process.send?.({ port, token });

async function post(to: string, body: object): Promise<{ readonly token: string }> {
  const answer = await app.operator.inject('POST', to, Buffer.from(JSON.stringify(body)));
  if (answer.status !== 201) throw new Error(answer.body.toString('utf8'));
  return JSON.parse(answer.body.toString('utf8')) as { token: string };
}
