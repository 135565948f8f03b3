import { rm, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { readConfig } from '../../src/config.ts';
import { openInstallation } from '../../src/installation.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { testDatabase } from '../support/database.ts';
import { folder } from './fixture.ts';

t.test('a gate that other processes’ files have closed opens when they are gone', async (t) => {
  const { connection } = await testDatabase(t);
  const settings = { DATA_DIR: dirname(await folder(t)), JOURNAL_MAX_BYTES: '16MiB', WORKERS: '2' };
  const config = readConfig(settings);
  const gate = { closed: Promise.withResolvers<void>(), open: Promise.withResolvers<void>() };
  const installation = await openInstallation(config, {
    log: createLog({
      level: 'info',
      write(line) {
        if (line.includes('"journal.gate-closed"')) gate.closed.resolve();
        if (line.includes('"journal.gate-open"')) gate.open.resolve();
      },
    }),
    metrics: createMetrics({ version: 'test', node: process.version }),
    database: { connection, stop: async () => {} },
  });
  t.teardown(() => installation.close());
  const theirs = join(installation.journal.dir, 'of-a-worker');
  await writeFile(theirs, '');
  await truncate(theirs, 15 * 1024 * 1024);
  await installation.journal.measure();
  await gate.closed.promise;
  await t.rejects(installation.journal.append('token.create.intent', { actId: 'act_1' }), {
    code: 'JOURNAL_UNAVAILABLE',
  });
  await rm(theirs);
  await gate.open.promise;
  await t.resolves(installation.journal.append('token.create.intent', { actId: 'act_2' }));
});
